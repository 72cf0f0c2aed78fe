from decimal import Decimal
from pathlib import Path

import pytest

from common.agent_settings import Backend, Credentials, LogFormat, LogLevel, Mode
from webhook.cli.serve import CONFIG
from webhook.core.settings import EnvVar, Size
from webhook.settings_file import MAX_FILE_SIZE, ConfigError, load_settings, parse_settings

LEAST = "agent: {image: i}\n"
VOLUME = "agent: {image: i, volumes: [{name: ca, emptyDir: {}}], "


@pytest.mark.pure
def test_an_image_is_all_that_it_needs() -> None:
    settings = parse_settings(LEAST)
    assert (settings.image, settings.default_mode) == ("i", Mode.INIT)
    assert settings.excluded_namespaces == {"kube-system"}


@pytest.mark.pure
def test_every_key_arrives() -> None:
    settings = parse_settings(
        """
        agent:
          image: i
          imagePullPolicy: Never
          imagePullSecrets: [registry]
          resources: {cpu: 100m, memory: 96Mi}
          volumes: [{name: ca, configMap: {name: ca}}]
          volumeMounts: [{name: ca, mountPath: /etc/ca, readOnly: true}]
          securityContext: {runAsUser: 1000, seLinuxOptions: {type: spc_t}}
          env: [{name: A, value: b}, {name: EMPTY}]
          timeout: 2m
          backend: node
          nodePort: 19407
          credentials: node
          allowedCIDRs: [10.0.0.0/8, "2001:db8::/32"]
          logLevel: debug
          logFormat: text
        injection: {defaultMode: sidecar, excludedNamespaces: [x], podOptIn: false}
        """
    )
    assert settings.image_pull_policy == "Never"
    assert settings.image_pull_secrets == ("registry",)
    assert settings.size == Size(cpu=Decimal("0.1"), memory=Decimal(96 * 2**20))
    assert settings.volumes == ({"name": "ca", "configMap": {"name": "ca"}},)
    assert settings.volume_mounts == ({"name": "ca", "mountPath": "/etc/ca", "readOnly": True},)
    assert settings.security_context == {"runAsUser": 1000, "seLinuxOptions": {"type": "spc_t"}}
    assert settings.env == (EnvVar("A", "b"), EnvVar("EMPTY", ""))
    assert settings.default_mode is Mode.SIDECAR
    assert settings.excluded_namespaces == {"kube-system", "x"}
    assert not settings.pod_opt_in
    agent = settings.agent
    assert (agent.timeout, agent.credentials) == (120, Credentials.NODE)
    assert (agent.backend, agent.node_port) == (Backend.NODE, 19407)
    assert agent.allowed_cidrs == ("10.0.0.0/8", "2001:db8::/32")
    assert (agent.log_level, agent.log_format) == (LogLevel.DEBUG, LogFormat.TEXT)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("settings", "cpu", "mebibytes"),
    [
        ("", "0.05", 64),
        (", backend: direct", "0.05", 64),
        (", backend: node", "0.05", 32),
        (", backend: node, resources: {}", "0.05", 32),
        (", backend: node, resources: {cpu: 70m}", "0.07", 32),
        (", resources: {memory: 96Mi}", "0.05", 96),
    ],
)
def test_what_the_agent_needs_depends_on_its_backend_where_nothing_is_said(
    settings: str, cpu: str, mebibytes: int
) -> None:
    size = parse_settings(f"agent: {{image: i{settings}}}").size
    assert size == Size(cpu=Decimal(cpu), memory=Decimal(mebibytes * 2**20))


@pytest.mark.pure
def test_the_example_of_the_help_text_is_valid() -> None:
    assert parse_settings(CONFIG.split("\n", 1)[1]).excluded_namespaces == {"kube-system", "monitoring"}


@pytest.mark.pure
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "agent:"),
        ("[]", "not a mapping"),
        ("a: [", "not YAML"),
        ("[" * 500, "not YAML"),
        ("{}", "agent"),
        ("agent: {}", "image"),
        ("agent: {image: ''}", "agent.image"),
        ("agent: {image: 7}", "agent.image"),
        ("agent: {image: i, imagePullPolicy: Sometimes}", "agent.imagePullPolicy: 'Sometimes'"),
        ("agent: {image: i, imagePullPolice: Never}", "imagePullPolice"),
        ("agent: {image: i, env: {A: b}}", "agent.env"),
        ("agent: {image: i, env: [{name: A, value: 1}]}", "agent.env[0].value: "),
        ("agent: {image: i, env: [{name: 1A}]}", "agent.env[0].name: '1A'"),
        ("agent: {image: i, env: [{name: MULTUS_ENI_TIMEOUT, value: x}]}", "agent.env[0].name"),
        ("agent: {image: i, timeout: 5}", "agent.timeout"),
        ("agent: {image: i, timeout: 5h}", "agent.timeout: '5h'"),
        ("agent: {image: i, credentials: mine}", "agent.credentials: 'mine' is not one of chain, node"),
        ("agent: {image: i, backend: nodes}", "agent.backend: 'nodes' is not one of direct, node"),
        ("agent: {image: i, nodePort: 0}", "agent.nodePort: 0 is not a port from 1 to 65535"),
        ("agent: {image: i, nodePort: 65536}", "agent.nodePort: 65536"),
        ("agent: {image: i, nodePort: '9407'}", "agent.nodePort: "),
        ("agent: {image: i, volumes: [{name: multus-eni-token, emptyDir: {}}]}", "is the agent's own volume"),
        (
            VOLUME + "volumeMounts: [{name: ca, mountPath: /var/run/secrets/multus-eni.io/node-agent/}]}",
            "/var/run/secrets/multus-eni.io/node-agent/ is where the agent's own volume is",
        ),
        (VOLUME + "volumeMounts: [{name: ca, mountPath: 7}]}", "agent.volumeMounts[0].mountPath: 7"),
        ("agent: {image: i, allowedCIDRs: [10.0.0.1/8]}", "agent.allowedCIDRs[0]: 10.0.0.1/8"),
        ("agent: {image: i, imagePullSecrets: [A]}", "agent.imagePullSecrets[0]: 'A'"),
        ("agent: {image: i, resources: {cpu: 1}}", "agent.resources.cpu: 1 is not 10m to 999m"),
        ("agent: {image: i, resources: {cpu: 999.5m}}", "agent.resources.cpu: '999.5m' is not 10m to 999m"),
        ("agent: {image: i, resources: {memory: 1Mi}}", "agent.resources.memory: '1Mi'"),
        ("agent: {image: i, resources: {limits: {}}}", "agent.resources: contains unknown field `limits`"),
        ("agent: {image: i, volumes: [{configMap: {}}]}", "agent.volumes[0].name: None"),
        (
            "agent: {image: i, volumes: [{name: ca.crt, emptyDir: {}}]}",
            "'ca.crt' is not the name of a volume",
        ),
        ("agent: {image: i, volumes: [{name: ca}]}", "agent.volumes[0]: needs name and one source"),
        (
            "agent: {image: i, volumes: [{name: multus-eni-run, emptyDir: {}}]}",
            "agent.volumes[0].name: multus-",
        ),
        ("agent: {image: i, volumeMounts: [{name: ca, mountPath: /ca}]}", "agent.volumeMounts[0].name: 'ca'"),
        (VOLUME + "volumeMounts: [{name: ca, mountPath: ca}]}", "agent.volumeMounts[0].mountPath: 'ca'"),
        (
            "agent: {image: i, securityContext: {privileged: true}}",
            "agent.securityContext.privileged: not one",
        ),
        ("agent: {image: i, securityContext: {runAsUser: 0}}", "agent.securityContext.runAsUser: 0"),
        ("agent: {image: i, logLevel: loud}", "agent.logLevel"),
        ("agent: {image: i, logFormat: xml}", "agent.logFormat"),
        (LEAST + "injection: {defaultMode: both}", "injection.defaultMode: 'both'"),
        (LEAST + "injections: {}", "injections"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(text: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text)
    assert named in str(caught.value)


def test_the_file_is_named_too(tmp_path: Path) -> None:
    wrong = tmp_path / "settings.yaml"
    wrong.write_text("agent: {}")
    for path, text in (
        (wrong, "image"),
        (tmp_path / "none.yaml", "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=f"{path}.*{text}"):
            load_settings(path)


def test_a_huge_file_is_no_settings_file(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (MAX_FILE_SIZE + 1))
    with pytest.raises(ConfigError, match="not a settings file"):
        load_settings(huge)

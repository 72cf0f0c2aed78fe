"""Values that the tests render the chart with."""

from __future__ import annotations

import functools
from typing import Any

from tests.cluster.certificates import Authority
from tests.cluster.helm import REGISTRY, merged

REQUIRED: dict[str, Any] = {"image": {"registry": REGISTRY}}
DIGEST = "sha256:" + "0123456789abcdef" * 4


@functools.cache
def ca_bundle() -> str:
    """Return a CA certificate, PEM."""
    return Authority("chart").pem.decode("ascii")


def existing_secret() -> dict[str, Any]:
    """Make the values of an existing Secret."""
    secret = {"name": "own-tls", "caBundle": ca_bundle()}
    return {"certificates": {"mode": "existingSecret", "existingSecret": secret}}


MONITORING: dict[str, Any] = {
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {
            "enabled": True,
            "alertLabels": {"team": "network"},
            "runbookUrl": "https://runbooks.example/#",
        },
        "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Network"}},
    }
}
NODE: dict[str, Any] = {
    "agent": {"backend": "node"},
    "nodeAgent": {
        "grants": {
            "my-apps": {"cidrs": ["10.10.1.192/28", "2001:db8::/64"], "takeover": True},
            "*": {"takeover": False},
        }
    },
}
NODE_WATCH: dict[str, Any] = {
    "nodeAgent": {"watchOnly": True, "gc": {"mode": "on", "protectedCIDRs": ["10.10.1.192/28"]}}
}
CONTROLLER: dict[str, Any] = {
    "nodeAgent": {"enabled": True},
    "controller": {
        "enabled": True,
        "clusterName": "prod",
        "region": "eu-central-1",
        "whereabouts": {"namespace": "kube-system"},
    },
    "capacity": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "metrics": {"prometheusRule": {"enabled": True, "runbookUrl": "https://runbooks.example/#"}},
}
CENTRAL = merged(CONTROLLER, {"agent": {"backend": "central"}})
_PODS: dict[str, Any] = {
    "priorityClassName": "",
    "nodeSelector": {"example.com/pool": "system"},
    "tolerations": [{"key": "system", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
            ]
        }
    },
    "annotations": {"example.com/deployment": "yes"},
    "podAnnotations": {"example.com/pod": "yes"},
    "podLabels": {"example.com/label": "yes"},
    "extraEnv": [{"name": "EXTRA", "value": "1"}],
    "extraVolumes": [{"name": "extra", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
    "revisionHistoryLimit": 0,
    "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
    "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["ec2.internal"]}],
    "serviceAccount": {"labels": {"example.com/account": "yes"}},
}
EVERYTHING: dict[str, Any] = merged(
    MONITORING,
    {
        "commonLabels": {"example.com/owner": "network"},
        "commonAnnotations": {"example.com/change": "CHG-1"},
        "imagePullSecrets": [{"name": "own-registry"}],
        "image": {"tag": "1.2.3", "webhook": {"digest": DIGEST}, "agent": {"tag": "4.5.6"}},
        "injection": {"defaultMode": "sidecar", "excludedNamespaces": ["monitoring", "ingress"]},
        "agent": {
            "imagePullPolicy": "Always",
            "imagePullSecrets": ["agent-registry"],
            "resources": {"cpu": "60m", "memory": "80Mi"},
            "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
            "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "volumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/extra", "readOnly": True}],
            "securityContext": {"runAsUser": 1000},
            "timeout": "3m",
            "credentials": "node",
            "allowedCIDRs": ["10.10.0.0/16"],
            "logLevel": "debug",
            "logFormat": "json",
        },
        "webhookConfiguration": {"timeoutSeconds": 5, "annotations": {"example.com/configuration": "yes"}},
        "webhook": {
            **_PODS,
            "replicas": 3,
            "podDisruptionBudget": {"minAvailable": "50%", "unhealthyPodEvictionPolicy": "IfHealthyBudget"},
            "topologySpreadConstraints": [
                {"topologyKey": "example.com/rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
            ],
        },
        "certs": {**_PODS, "certificateLifetime": "30d"},
        "nodeAgent": {
            **_PODS,
            "enabled": True,
            "gc": {
                "mode": "on",
                "cooldown": "90s",
                "interval": "1m",
                "managedCIDRs": ["10.10.0.0/16"],
                "protectedCIDRs": ["10.10.1.192/28"],
            },
            "port": 19407,
            "healthPort": 19408,
            "credentials": "node",
            "podCondition": True,
            "requireTag": False,
            "networkStatusPolicy": False,
            "serviceAccount": {
                "name": "multus-node",
                "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/node-agent"},
            },
            "hostPath": "/var/lib/other",
            "logLevel": "debug",
            "logFormat": "json",
            "securityContext": {"seLinuxOptions": {"type": "super_t"}},
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": 1}},
        },
        "networkPolicy": {
            "enabled": True,
            "webhookFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"monitoring": "yes"}}}],
        },
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "{{ .Release.Name }}-extra", "namespace": "{{ .Release.Namespace }}"},
            },
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra, namespace: multus-eni-system}\n",
        ],
    },
)


def cases() -> dict[str, dict[str, Any]]:
    """Return values by what they are; each is complete."""
    own = {
        "defaults": {},
        "everything": EVERYTHING,
        "monitoring": MONITORING,
        "host network": {"webhook": {"hostNetwork": True, "port": 9443}},
        "one replica": {"webhook": {"replicas": 1, "podDisruptionBudget": {"enabled": False}}},
        "cert-manager": {"certificates": {"mode": "certManager"}},
        "cert-manager with an issuer": {
            "certificates": {
                "mode": "certManager",
                "certManager": {"issuerRef": {"name": "corporate", "kind": "ClusterIssuer"}},
            },
        },
        "existing secret": existing_secret(),
        "injection off": {"injection": {"enabled": False}},
        "no opting in by pods": {"injection": {"podOptIn": False}},
        "digest alone": {"image": {"agent": {"digest": DIGEST}}},
        "without policy and metrics": {
            "admissionPolicy": {"enabled": False},
            "metrics": {"enabled": False},
            "networkPolicy": {"enabled": True},
            "test": {"enabled": False},
        },
        "policy that warns": {"admissionPolicy": {"action": "Warn"}},
        "failures ignored": {"webhookConfiguration": {"failurePolicy": "Ignore"}},
        "backend node": merged(NODE, MONITORING),
        "backend central": CENTRAL,
        "controller": CONTROLLER,
        "watch only": merged(NODE_WATCH, MONITORING),
        "agent of the node beside direct": {"nodeAgent": {"enabled": True}, "metrics": {"enabled": False}},
        "another name": {"fullnameOverride": "vpc", "webhookConfiguration": {"name": "a-multus-eni"}},
    }
    return {name: merged(REQUIRED, values) for name, values in own.items()}

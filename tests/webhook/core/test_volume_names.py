"""Names of the settings' volumes in a pod that has volumes of its own."""

from __future__ import annotations

import pytest

from webhook.core.container import with_free_volume_names
from webhook.core.pod import Pod, PodSpec, Volume
from webhook.core.settings import Settings

pytestmark = pytest.mark.pure


def test_a_volume_gets_a_name_that_neither_the_pod_nor_the_settings_have() -> None:
    volumes = ({"name": "ca", "configMap": {"name": "ca"}}, {"name": "multus-eni-volume-1", "emptyDir": {}})
    settings = Settings(image="i", volumes=volumes, volume_mounts=({"name": "ca", "mountPath": "/ca"},))
    found = with_free_volume_names(
        settings, Pod(spec=PodSpec(volumes=[Volume("ca"), Volume("multus-eni-volume-0")]))
    )
    assert [each["name"] for each in found.volumes] == ["multus-eni-volume-2", "multus-eni-volume-1"]
    assert [each["name"] for each in found.volume_mounts] == ["multus-eni-volume-2"]

"""What tests/images asks of the images that it starts, of those for arm64."""

from __future__ import annotations

from tests.images.test_contents import (
    test_all_of_its_modules_can_be_imported_and_no_others_are_there,
    test_every_library_that_a_binary_names_is_there,
)
from tests.images.test_pods import (
    stage,
    test_a_sidecar_starts_follows_the_pods_addresses_and_ends,
    test_init_assigns_the_pods_addresses,
    test_init_says_why_an_address_cannot_be_had,
)
from tests.images.test_running import (
    configured,
    test_each_image_command_prints_its_version_or_help,
    test_the_agent_ends_within_its_default_limits_where_there_is_nothing_to_do,
    test_the_agent_makes_an_ec2_client_within_its_default_limits,
    test_the_agent_refuses_wrong_settings,
    test_the_processes_are_nobody_with_a_root_that_they_cannot_write,
    test_the_webhook_refuses_wrong_settings,
    test_the_webhook_serves_until_it_is_told_to_end,
)
from tests.netns_fixtures import node

__all__ = [
    "configured",
    "node",
    "stage",
    "test_a_sidecar_starts_follows_the_pods_addresses_and_ends",
    "test_all_of_its_modules_can_be_imported_and_no_others_are_there",
    "test_each_image_command_prints_its_version_or_help",
    "test_every_library_that_a_binary_names_is_there",
    "test_init_assigns_the_pods_addresses",
    "test_init_says_why_an_address_cannot_be_had",
    "test_the_agent_ends_within_its_default_limits_where_there_is_nothing_to_do",
    "test_the_agent_makes_an_ec2_client_within_its_default_limits",
    "test_the_agent_refuses_wrong_settings",
    "test_the_processes_are_nobody_with_a_root_that_they_cannot_write",
    "test_the_webhook_refuses_wrong_settings",
    "test_the_webhook_serves_until_it_is_told_to_end",
]

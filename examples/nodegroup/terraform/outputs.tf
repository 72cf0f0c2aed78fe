output "node_networks" {
  description = "The NodeNetworks, for kubectl apply."
  value = join("---\n", [
    for name, network in var.networks : yamlencode({
      apiVersion = "multus-eni.io/v1alpha1"
      kind       = "NodeNetwork"
      metadata   = { name = name }
      spec = {
        nodeSelector               = { matchLabels = var.node_labels }
        subnetSelectorTerms        = [{ tags = { "multus-${name}" = var.cluster_name } }]
        securityGroupSelectorTerms = [for id in network.security_group_ids : { id = id }]
        ipv6                       = { addresses = network.ipv6_addresses }
        sourceDestCheck            = network.source_dest_check
        tags                       = network.tags
      }
    })
  ])
}

output "node_role_arn" {
  description = "The nodes' role."
  value       = aws_iam_role.node.arn
}

output "role_arns" {
  description = "The roles of controller and node agents; for IRSA, the annotations of their ServiceAccounts."
  value = var.create_permissions ? {
    controller = module.permissions[0].controller_role_arn
    node_agent = module.permissions[0].node_agent_role_arn
  } : {}
}

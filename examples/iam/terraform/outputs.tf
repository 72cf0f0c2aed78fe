output "controller_role_arn" {
  description = "For IRSA, the annotation of the chart's controller.serviceAccount."
  value       = aws_iam_role.this["controller"].arn
}

output "node_agent_role_arn" {
  description = "For IRSA, the annotation of the chart's nodeAgent.serviceAccount. Null where they have no role."
  value       = var.node_agent_service_account == "" ? null : aws_iam_role.this["node-agent"].arn
}

output "agent_role_arns" {
  description = "For IRSA, the annotations of the ServiceAccounts of `agents`, by their names."
  value       = { for name in keys(var.agents) : name => aws_iam_role.this["agent-${name}"].arn }
}

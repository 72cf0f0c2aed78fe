# The roles of the controller and of the node agents, once for each cluster. Their policies are the JSON files of the
# folder above; docs/iam.md explains them.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

data "aws_partition" "this" {}

data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

data "aws_eks_cluster" "this" {
  name = var.cluster_name
}

locals {
  partition = data.aws_partition.this.partition
  account   = data.aws_caller_identity.this.account_id
  # In a VPC that another account shares, its ARN and those of its subnets have that account. Their IDs are unique in all
  # of AWS, so that the wildcard allows nothing more.
  in_region = "arn:${local.partition}:ec2:${data.aws_region.this.region}:*"
  vpc       = data.aws_eks_cluster.this.vpc_config[0].vpc_id
  issuer    = replace(data.aws_eks_cluster.this.identity[0].oidc[0].issuer, "https://", "")

  programs = merge(
    {
      controller = {
        policy = "controller", namespace = var.namespace, service_account = var.controller_service_account
      }
    },
    {
      for account in toset([var.node_agent_service_account]) : "node-agent" => {
        policy = "node-agent", namespace = var.namespace, service_account = account
      } if account != ""
    },
    {
      for name, pods in var.agents : "agent-${name}" => {
        policy = "agent-dual-stack", namespace = pods.namespace, service_account = pods.service_account
      }
    },
  )

  # The account's own values, in the places of those in the files.
  subnets = jsonencode([for id in var.subnet_ids : "${local.in_region}:subnet/${id}"])
  with_subnets = {
    for program, each in local.programs : program => replace(
      file("${path.module}/../${each.policy}.json"), "/\"ec2:Subnet\": \\[[^\\]]*\\]/", "\"ec2:Subnet\": ${local.subnets}"
    )
  }
  with_vpc = {
    for program, text in local.with_subnets : program => replace(
      text, "arn:aws:ec2:eu-central-1:*:vpc/vpc-0123456789abcdef0", "${local.in_region}:vpc/${local.vpc}"
    )
  }
  policies = {
    for program, text in local.with_vpc : program => replace(
      replace(text, "arn:aws:", "arn:${local.partition}:"), "/([\"/])prod\"/", "$${1}${var.cluster_name}\""
    )
  }
  provider_of_irsa = replace(
    replace(
      file("${path.module}/../trust-irsa.json"),
      "oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE", local.issuer
    ),
    "arn:aws:iam::111122223333:", "arn:${local.partition}:iam::${local.account}:"
  )
  trusts = {
    for program, each in local.programs : program => (
      var.pod_identity
      ? file("${path.module}/../trust-pod-identity.json")
      : replace(local.provider_of_irsa, "NAMESPACE:SERVICEACCOUNT", "${each.namespace}:${each.service_account}")
    )
  }
}

resource "aws_iam_role" "this" {
  for_each = local.programs

  name               = "${var.cluster_name}-multus-eni-${each.key}"
  assume_role_policy = local.trusts[each.key]
  tags               = var.tags
}

resource "aws_iam_role_policy" "this" {
  for_each = local.programs

  name   = "multus-eni-${each.key}"
  role   = aws_iam_role.this[each.key].id
  policy = local.policies[each.key]
}

resource "aws_eks_pod_identity_association" "this" {
  for_each = var.pod_identity ? local.programs : {}

  cluster_name    = var.cluster_name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = aws_iam_role.this[each.key].arn
  tags            = var.tags
}

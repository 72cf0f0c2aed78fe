# A managed node group whose nodes get an ENI of each Multus network from the controller, with the tags and
# reservations of the networks' subnets, and the roles of the injector. docs/nodegroups.md explains it.

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

data "aws_eks_cluster" "this" {
  name = var.cluster_name
}

data "aws_ssm_parameter" "image" {
  name = "/aws/service/eks/optimized-ami/${data.aws_eks_cluster.this.version}/amazon-linux-2023/${var.architecture}/standard/recommended/image_id"
}

locals {
  # One entry for each network and zone, and one for each range. Their keys are known before the subnets exist.
  subnets = merge([
    for name, network in var.networks : {
      for zone, id in network.subnets : "${name}/${zone}" => { network = name, id = id }
    }
  ]...)
  reserved = merge(flatten([
    for name, network in var.networks : [
      for zone, cidrs in network.reservations : {
        for cidr in cidrs : "${name}/${zone}/${cidr}" => { id = network.subnets[zone], cidr = cidr }
      }
    ]
  ])...)
  service_cidr = coalesce(
    data.aws_eks_cluster.this.kubernetes_network_config[0].service_ipv6_cidr,
    data.aws_eks_cluster.this.kubernetes_network_config[0].service_ipv4_cidr,
  )
  node_policies = [
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonSSMManagedInstanceCore",
  ]
}

module "permissions" {
  source = "../../iam/terraform"
  count  = var.create_permissions ? 1 : 0

  cluster_name = var.cluster_name
  subnet_ids   = distinct([for subnet in values(local.subnets) : subnet.id])
  pod_identity = var.pod_identity
  namespace    = var.namespace
  tags         = var.tags
}

# By this tag a NodeNetwork finds its subnet in the node's zone.
resource "aws_ec2_tag" "network" {
  for_each = var.manage_subnets ? local.subnets : {}

  resource_id = each.value.id
  key         = "multus-${each.value.network}"
  value       = var.cluster_name
}

# EC2 assigns addresses of these ranges, which are for pods, only to calls that name them.
resource "aws_ec2_subnet_cidr_reservation" "pods" {
  for_each = var.manage_subnets ? local.reserved : {}

  subnet_id        = each.value.id
  cidr_block       = each.value.cidr
  reservation_type = "explicit"
  description      = "Multus pods of ${var.cluster_name}"
}

# The nodes' role has no right to change ENIs for Multus: controller and node agents have roles of their own.
resource "aws_iam_role" "node" {
  name = "${var.cluster_name}-${var.name}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.${data.aws_partition.this.dns_suffix}" }
      Action    = "sts:AssumeRole"
    }]
  })
  tags = var.tags
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = toset(local.node_policies)

  role       = aws_iam_role.node.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/${each.value}"
}

# With an image ID, EKS adds no user data of its own, whose maxPods would override the expression.
resource "aws_launch_template" "node" {
  name_prefix            = "${var.cluster_name}-${var.name}-"
  image_id               = coalesce(var.image_id, data.aws_ssm_parameter.image.insecure_value)
  update_default_version = true
  vpc_security_group_ids = concat(
    [data.aws_eks_cluster.this.vpc_config[0].cluster_security_group_id], var.security_group_ids
  )
  user_data = base64encode(templatefile("${path.module}/node-config.tftpl", {
    cluster_name          = var.cluster_name
    endpoint              = data.aws_eks_cluster.this.endpoint
    certificate_authority = data.aws_eks_cluster.this.certificate_authority[0].data
    service_cidr          = local.service_cidr
    max_pods = coalesce(
      var.max_pods_expression, "((default_enis - ${length(var.networks)}) * (ips_per_eni - 1)) + 2"
    )
    flags = concat(
      ["--node-labels=${join(",", [for key, value in var.node_labels : "${key}=${value}"])}"],
      var.kubelet_extra_arguments,
    )
  }))

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      delete_on_termination = true
      encrypted             = true
      volume_size           = var.volume_size
      volume_type           = "gp3"
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  tag_specifications {
    resource_type = "instance"
    # The controller's policy allows ENIs on instances with the cluster's tag alone.
    tags = merge(var.tags, {
      Name                                        = "${var.cluster_name}-${var.name}"
      "kubernetes.io/cluster/${var.cluster_name}" = "owned"
    })
  }
}

resource "aws_eks_node_group" "this" {
  cluster_name    = var.cluster_name
  node_group_name = var.name
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = var.subnet_ids
  instance_types  = var.instance_types
  tags            = var.tags

  launch_template {
    id      = aws_launch_template.node.id
    version = aws_launch_template.node.latest_version
  }

  scaling_config {
    min_size     = var.min_size
    desired_size = var.desired_size
    max_size     = var.max_size
  }

  update_config {
    max_unavailable = 1
  }

  # No taint block: EKS would add the startup taint again to nodes that the controller has made ready.

  lifecycle {
    ignore_changes = [scaling_config[0].desired_size]
  }

  depends_on = [aws_iam_role_policy_attachment.node]
}

variable "cluster_name" {
  description = "Name of the EKS cluster."
  type        = string
}

variable "name" {
  description = "Name of the node group."
  type        = string
  default     = "multus"
}

variable "subnet_ids" {
  description = "Subnets of the nodes' primary ENIs, in one zone or several."
  type        = list(string)
}

variable "networks" {
  description = <<-EOT
    The Multus networks by name, which NetworkAttachmentDefinitions have as master: by zone the subnet and the ranges
    that are the pods', and the security groups of the ENIs.
  EOT
  type = map(object({
    subnets            = map(string)
    security_group_ids = list(string)
    reservations       = optional(map(list(string)), {})
    ipv6_addresses     = optional(number, 0)
    source_dest_check  = optional(bool, true)
    tags               = optional(map(string), {})
  }))

  validation {
    condition     = length(var.networks) > 0
    error_message = "Name at least one network."
  }
}

variable "security_group_ids" {
  description = "Security groups of the nodes' primary ENIs, beside the cluster's own."
  type        = list(string)
  default     = []
}

variable "instance_types" {
  description = "Instance types with an ENI for each Multus network, beside those for pods."
  type        = list(string)
  default     = ["m6i.2xlarge"]
}

variable "architecture" {
  description = "Of the instance types: x86_64 or arm64."
  type        = string
  default     = "x86_64"
}

variable "image_id" {
  description = "An AMI of your own with nodeadm, instead of EKS' recommended AL2023."
  type        = string
  default     = null
}

variable "min_size" {
  description = "Fewest nodes."
  type        = number
  default     = 1
}

variable "desired_size" {
  description = "Nodes at the start."
  type        = number
  default     = 2
}

variable "max_size" {
  description = "Most nodes."
  type        = number
  default     = 3
}

variable "volume_size" {
  description = "Size of the root volume, in GiB."
  type        = number
  default     = 50
}

variable "node_labels" {
  description = "Labels of the nodes. The NodeNetworks of the output select nodes by all of them."
  type        = map(string)
  default     = { node-group = "multus" }
}

variable "kubelet_extra_arguments" {
  description = "Further flags of the kubelet, such as --cpu-manager-policy=static."
  type        = list(string)
  default     = []
}

variable "max_pods_expression" {
  description = "CEL expression for nodeadm; null means the ENIs that Multus networks leave."
  type        = string
  default     = null
}

variable "create_permissions" {
  description = "Whether to make the roles of controller and node agents: once for each cluster."
  type        = bool
  default     = true
}

variable "manage_subnets" {
  description = "Whether to tag and reserve ranges of the networks' subnets: once for each cluster, too."
  type        = bool
  default     = true
}

variable "pod_identity" {
  description = "EKS Pod Identity; false means IRSA."
  type        = bool
  default     = true
}

variable "namespace" {
  description = "Namespace of the chart's release."
  type        = string
  default     = "multus-eni-system"
}

variable "tags" {
  description = "Tags of everything that is made, save the Multus ENIs: those are in `networks`."
  type        = map(string)
  default     = {}
}

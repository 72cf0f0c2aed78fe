variable "cluster_name" {
  description = "Name of the EKS cluster, the same as the chart's controller.clusterName."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the ENIs for Multus. Node agents assign addresses in these alone."
  type        = list(string)
}

variable "pod_identity" {
  description = "EKS Pod Identity; false means IRSA, for which the cluster's OIDC provider has to be in IAM."
  type        = bool
  default     = true
}

variable "namespace" {
  description = "Namespace of the chart's release."
  type        = string
  default     = "multus-eni-system"
}

variable "controller_service_account" {
  description = "ServiceAccount of the controller."
  type        = string
  default     = "multus-eni-injector-controller"
}

variable "node_agent_service_account" {
  description = "ServiceAccount of the node agents. Empty means that they get no role, for the backend central."
  type        = string
  default     = "multus-eni-injector-node"
}

variable "agents" {
  description = "With the backend direct, by a name of yours the pods whose agents call EC2."
  type        = map(object({ namespace = string, service_account = string }))
  default     = {}
}

variable "tags" {
  description = "Tags of the roles and associations."
  type        = map(string)
  default     = {}
}

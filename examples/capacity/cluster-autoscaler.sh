#!/bin/sh
# Tells the cluster autoscaler what a new node of a managed node group will have: the resource, and the label of the
# network. EKS does not copy a node group's tags to its Auto Scaling group. The taint that nodes have while they start
# is a flag of the autoscaler: --startup-taint=multus-eni.io/no-interface-configured
#   ./cluster-autoscaler.sh <cluster> <node group> <network> <addresses>
set -eu
cluster=$1 group=$2 network=$3 addresses=$4
asg=$(aws eks describe-nodegroup --cluster-name "$cluster" --nodegroup-name "$group" \
    --query 'nodegroup.resources.autoScalingGroups[0].name' --output text)
prefix=k8s.io/cluster-autoscaler/node-template
tag() {
    aws autoscaling create-or-update-tags --tags \
        "ResourceId=$asg,ResourceType=auto-scaling-group,PropagateAtLaunch=false,Key=$prefix/$1,Value=$2"
}
tag "resources/multus-eni.io/$network" "$addresses"
tag "label/network.multus-eni.io/$network" true

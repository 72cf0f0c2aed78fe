package main

import (
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
)

// maxPods evaluates an expression as nodeadm does: three integers, and a result that becomes one.
// (amazon-eks-ami, nodeadm/internal/kubelet/max_pods.go)
func maxPods(expression string) (any, error) {
	var instances []struct {
		Enis int64 `json:"default_enis"`
		Ips  int64 `json:"ips_per_eni"`
	}
	if err := read(&instances); err != nil {
		return nil, err
	}
	env, err := cel.NewEnv(
		cel.Variable("default_enis", cel.IntType),
		cel.Variable("ips_per_eni", cel.IntType),
		cel.Variable("max_pods", cel.IntType),
	)
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	program, err := env.Program(ast)
	if err != nil {
		return nil, err
	}
	var answers []int64
	for _, each := range instances {
		value, _, err := program.Eval(map[string]any{
			"default_enis": each.Enis,
			"ips_per_eni":  each.Ips,
			"max_pods":     each.Enis*(each.Ips-1) + 2,
		})
		if err != nil {
			return nil, err
		}
		number := value.ConvertToType(cel.IntType)
		if types.IsError(number) {
			return nil, fmt.Errorf("%v is not a number", value)
		}
		answers = append(answers, number.Value().(int64))
	}
	return answers, nil
}

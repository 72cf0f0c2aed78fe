package main

import (
	"encoding/base64"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	yaml "github.com/zclconf/go-cty-yaml"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// functions are those of Terraform's that the modules call; another one is an error.
var functions = map[string]function.Function{
	"base64encode": text(func(value string) (string, error) {
		return base64.StdEncoding.EncodeToString([]byte(value)), nil
	}),
	"coalesce": coalesce,
	"concat":   stdlib.ConcatFunc,
	"distinct": stdlib.DistinctFunc,
	"file": text(func(path string) (string, error) {
		content, err := os.ReadFile(filepath.Clean(path))
		return string(content), err
	}),
	"flatten":    stdlib.FlattenFunc,
	"join":       stdlib.JoinFunc,
	"jsonencode": stdlib.JSONEncodeFunc,
	"keys":       stdlib.KeysFunc,
	"length":     stdlib.LengthFunc,
	"merge":      stdlib.MergeFunc,
	"replace":    replace,
	"toset":      stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)),
	"values":     stdlib.ValuesFunc,
	"yamlencode": yaml.YAMLEncodeFunc,
}

func init() {
	functions["templatefile"] = templateFile
}

func text(convert func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(arguments []cty.Value, _ cty.Type) (cty.Value, error) {
			made, err := convert(arguments[0].AsString())
			return cty.StringVal(made), err
		},
	})
}

// replace takes a pattern between slashes for a regular expression, as Terraform does.
var replace = function.New(&function.Spec{
	Params: []function.Parameter{
		{Name: "str", Type: cty.String}, {Name: "substr", Type: cty.String}, {Name: "replace", Type: cty.String},
	},
	Type: function.StaticReturnType(cty.String),
	Impl: func(arguments []cty.Value, _ cty.Type) (cty.Value, error) {
		pattern := arguments[1].AsString()
		if len(pattern) > 1 && pattern[0] == '/' && pattern[len(pattern)-1] == '/' {
			return stdlib.RegexReplace(arguments[0], cty.StringVal(pattern[1:len(pattern)-1]), arguments[2])
		}
		return stdlib.Replace(arguments[0], arguments[1], arguments[2])
	},
})

// coalesce also passes over empty strings, as Terraform's does.
var coalesce = function.New(&function.Spec{
	VarParam: &function.Parameter{
		Name: "values", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowDynamicType: true,
	},
	Type: func(arguments []cty.Value) (cty.Type, error) {
		value, err := first(arguments)
		return value.Type(), err
	},
	Impl: func(arguments []cty.Value, _ cty.Type) (cty.Value, error) { return first(arguments) },
})

func first(values []cty.Value) (cty.Value, error) {
	for _, value := range values {
		if value.IsNull() || value.IsKnown() && value.Type() == cty.String && value.AsString() == "" {
			continue
		}
		return value, nil
	}
	return cty.DynamicVal, function.NewArgErrorf(0, "no value is there")
}

var templateFile = function.New(&function.Spec{
	Params: []function.Parameter{
		{Name: "path", Type: cty.String}, {Name: "vars", Type: cty.DynamicPseudoType},
	},
	Type: function.StaticReturnType(cty.String),
	Impl: func(arguments []cty.Value, _ cty.Type) (cty.Value, error) {
		path := arguments[0].AsString()
		content, err := os.ReadFile(filepath.Clean(path))
		if err != nil {
			return cty.DynamicVal, err
		}
		template, problems := hclsyntax.ParseTemplate(content, path, hcl.InitialPos)
		if problems.HasErrors() {
			return cty.DynamicVal, problems
		}
		value, problems := template.Value(
			&hcl.EvalContext{Variables: arguments[1].AsValueMap(), Functions: functions},
		)
		if problems.HasErrors() {
			return cty.DynamicVal, problems
		}
		return value, nil
	},
})

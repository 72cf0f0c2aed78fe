package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// A module of Terraform is evaluated as `terraform plan` does before anything exists: references, types and blocks
// are checked, count and for_each are expanded, and what only AWS can say is not known.
type module struct {
	folder    string
	schema    schema
	data      map[string]map[string]any
	variables map[string]cty.Value
	blocks    map[string]*hclsyntax.Block // "local", "data.type.name", "type.name", "module.name"
	locals    map[string]*hclsyntax.Attribute
	outputs   []*hclsyntax.Block
	values    map[string]cty.Value
	pending   map[string]bool
	planned   map[string]cty.Value // each instance by its address
}

type request struct {
	Schema    schema                     `json:"schema"`
	Variables map[string]json.RawMessage `json:"variables"`
	Data      map[string]map[string]any  `json:"data"`
}

func terraform(folder string) (any, error) {
	var asked request
	if err := read(&asked); err != nil {
		return nil, err
	}
	given := map[string]cty.Value{}
	for name, text := range asked.Variables {
		implied, err := ctyjson.ImpliedType(text)
		if err != nil {
			return nil, err
		}
		if given[name], err = ctyjson.Unmarshal(text, implied); err != nil {
			return nil, err
		}
	}
	planned, outputs, err := evaluate(folder, asked.Schema, asked.Data, given)
	if err != nil {
		return nil, err
	}
	return map[string]any{"resources": plain(cty.ObjectVal(planned)), "outputs": plain(outputs)}, nil
}

func evaluate(
	folder string, types schema, data map[string]map[string]any, given map[string]cty.Value,
) (map[string]cty.Value, cty.Value, error) {
	m := &module{
		folder: folder, schema: types, data: data, variables: map[string]cty.Value{},
		blocks: map[string]*hclsyntax.Block{}, locals: map[string]*hclsyntax.Attribute{},
		values: map[string]cty.Value{}, pending: map[string]bool{}, planned: map[string]cty.Value{},
	}
	declared, err := m.load()
	if err == nil {
		err = m.set(declared, given)
	}
	for name := range m.locals {
		if err == nil {
			_, err = m.value("local." + name)
		}
	}
	for address := range m.blocks {
		if err == nil {
			_, err = m.value(address)
		}
	}
	outputs := map[string]cty.Value{}
	for _, each := range m.outputs {
		if err == nil {
			outputs[each.Labels[0]], err = m.output(each)
		}
	}
	if err != nil {
		return nil, cty.NilVal, fmt.Errorf("%s: %w", folder, err)
	}
	return m.planned, cty.ObjectVal(outputs), nil
}

// load reads all files, which have to be as `terraform fmt` writes them, and returns the variables' blocks.
func (m *module) load() ([]*hclsyntax.Block, error) {
	paths, err := filepath.Glob(filepath.Join(m.folder, "*.tf"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no files: %w", err)
	}
	parser, versions := hclparse.NewParser(), 0
	var declared []*hclsyntax.Block
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		file, problems := parser.ParseHCL(content, path)
		if problems.HasErrors() {
			return nil, problems
		}
		if !bytes.Equal(hclwrite.Format(content), content) {
			return nil, fmt.Errorf("%s is not formatted: terraform fmt", path)
		}
		for _, each := range file.Body.(*hclsyntax.Body).Blocks {
			switch each.Type {
			case "terraform":
				versions++
			case "variable":
				declared = append(declared, each)
			case "output":
				m.outputs = append(m.outputs, each)
			case "locals":
				for name, attribute := range each.Body.Attributes {
					m.locals[name] = attribute
				}
			case "resource":
				m.blocks[each.Labels[0]+"."+each.Labels[1]] = each
			case "data":
				m.blocks["data."+each.Labels[0]+"."+each.Labels[1]] = each
			case "module":
				m.blocks["module."+each.Labels[0]] = each
			default:
				return nil, fmt.Errorf("%s: a block %q", each.TypeRange, each.Type)
			}
		}
	}
	if versions != 1 {
		return nil, fmt.Errorf("%d blocks say the versions", versions)
	}
	return declared, nil
}

// set gives the variables their values: converted to their types, with defaults, and validated.
func (m *module) set(declared []*hclsyntax.Block, given map[string]cty.Value) error {
	for _, each := range declared {
		name := each.Labels[0]
		if each.Body.Attributes["description"] == nil || each.Body.Attributes["type"] == nil {
			return fmt.Errorf("variable %s lacks a description or type", name)
		}
		wanted, defaults, problems := typeexpr.TypeConstraintWithDefaults(each.Body.Attributes["type"].Expr)
		if problems.HasErrors() {
			return problems
		}
		value, ok := given[name]
		if !ok {
			if each.Body.Attributes["default"] == nil {
				return fmt.Errorf("variable %s has no value", name)
			}
			if value, problems = each.Body.Attributes["default"].Expr.Value(nil); problems.HasErrors() {
				return problems
			}
		}
		if defaults != nil && !value.IsNull() {
			value = defaults.Apply(value)
		}
		value, err := convert.Convert(value, wanted)
		if err != nil {
			return fmt.Errorf("variable %s: %w", name, err)
		}
		m.variables[name] = value
	}
	for name := range given {
		if _, ok := m.variables[name]; !ok {
			return fmt.Errorf("there is no variable %s", name)
		}
	}
	for _, each := range declared {
		for _, rule := range each.Body.Blocks {
			held, err := m.expression(rule.Body.Attributes["condition"].Expr, nil)
			if err != nil {
				return err
			}
			if held.False() {
				message, err := m.expression(rule.Body.Attributes["error_message"].Expr, nil)
				if err != nil {
					return err
				}
				return fmt.Errorf("variable %s: %s", each.Labels[0], message.AsString())
			}
		}
	}
	return nil
}

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/dynblock"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// value returns that of a local value, resource, data source or module, evaluated once.
func (m *module) value(address string) (cty.Value, error) {
	if found, ok := m.values[address]; ok {
		return found, nil
	}
	if m.pending[address] {
		return cty.NilVal, fmt.Errorf("%s refers to itself", address)
	}
	m.pending[address] = true
	var made cty.Value
	var err error
	name, isLocal := strings.CutPrefix(address, "local.")
	if local, ok := m.locals[name]; ok && isLocal {
		made, err = m.expression(local.Expr, nil)
	} else if found, ok := m.blocks[address]; ok {
		made, err = m.instances(address, found)
	} else {
		err = fmt.Errorf("there is no %s", address)
	}
	m.values[address] = made
	return made, err
}

// expression evaluates one, after everything that it refers to.
func (m *module) expression(expr hcl.Expression, more map[string]cty.Value) (cty.Value, error) {
	scope, err := m.scope(expr.Variables(), more)
	if err != nil {
		return cty.NilVal, err
	}
	value, problems := expr.Value(scope)
	if problems.HasErrors() {
		return cty.NilVal, problems
	}
	return value, nil
}

func (m *module) scope(references []hcl.Traversal, more map[string]cty.Value) (*hcl.EvalContext, error) {
	groups := map[string]map[string]cty.Value{"local": {}, "module": {}}
	data, resources := map[string]map[string]cty.Value{}, map[string]map[string]cty.Value{}
	for _, each := range references {
		root := each.RootName()
		if _, ok := more[root]; ok || root == "var" || root == "path" {
			continue
		}
		names := []string{root}
		for _, step := range each[1:] {
			if attribute, ok := step.(hcl.TraverseAttr); ok {
				names = append(names, attribute.Name)
			}
		}
		depth := map[string]int{"data": 3}[root]
		if depth == 0 {
			depth = 2
		}
		if len(names) < depth {
			return nil, fmt.Errorf("%s: there is no %s", each.SourceRange(), root)
		}
		address := names[0] + "." + names[1]
		if depth == 3 {
			address += "." + names[2]
		}
		value, err := m.value(address)
		if err != nil {
			return nil, err
		}
		switch {
		case depth == 3:
			put(data, names[1], names[2], value)
		case groups[root] != nil:
			groups[root][names[1]] = value
		default:
			put(resources, names[0], names[1], value)
		}
	}
	variables := map[string]cty.Value{
		"var":    cty.ObjectVal(m.variables),
		"path":   cty.ObjectVal(map[string]cty.Value{"module": cty.StringVal(m.folder)}),
		"local":  cty.ObjectVal(groups["local"]),
		"module": cty.ObjectVal(groups["module"]),
	}
	sources := map[string]cty.Value{}
	for name, values := range data {
		sources[name] = cty.ObjectVal(values)
	}
	variables["data"] = cty.ObjectVal(sources)
	for name, values := range resources {
		variables[name] = cty.ObjectVal(values)
	}
	for name, value := range more {
		variables[name] = value
	}
	return &hcl.EvalContext{Variables: variables, Functions: functions}, nil
}

func put(into map[string]map[string]cty.Value, group, name string, value cty.Value) {
	if into[group] == nil {
		into[group] = map[string]cty.Value{}
	}
	into[group][name] = value
}

var meta = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{
		{Name: "count"}, {Name: "for_each"}, {Name: "depends_on"}, {Name: "source"},
	},
	Blocks: []hcl.BlockHeaderSchema{{Type: "lifecycle"}},
}

// instances evaluates a block as often as its count or for_each says.
func (m *module) instances(address string, found *hclsyntax.Block) (cty.Value, error) {
	common, rest, problems := found.Body.PartialContent(meta)
	if problems.HasErrors() {
		return cty.NilVal, problems
	}
	if err := m.references(common.Attributes["depends_on"]); err != nil {
		return cty.NilVal, err
	}
	if each, ok := common.Attributes["for_each"]; ok {
		elements, err := m.expression(each.Expr, nil)
		if err != nil {
			return cty.NilVal, err
		}
		made := map[string]cty.Value{}
		for iterator := elements.ElementIterator(); iterator.Next(); {
			key, value := iterator.Element() // of a set, both are the element
			one := cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})
			name := key.AsString()
			made[name], err = m.instance(
				fmt.Sprintf("%s[%q]", address, name), found, common, rest, map[string]cty.Value{"each": one},
			)
			if err != nil {
				return cty.NilVal, err
			}
		}
		return cty.ObjectVal(made), nil
	}
	if count, ok := common.Attributes["count"]; ok {
		number, err := m.expression(count.Expr, nil)
		if err != nil {
			return cty.NilVal, err
		}
		wanted, _ := number.AsBigFloat().Int64()
		made := []cty.Value{}
		for index := range wanted {
			one := cty.ObjectVal(map[string]cty.Value{"index": cty.NumberIntVal(index)})
			value, err := m.instance(
				fmt.Sprintf("%s[%d]", address, index), found, common, rest, map[string]cty.Value{"count": one},
			)
			if err != nil {
				return cty.NilVal, err
			}
			made = append(made, value)
		}
		return cty.TupleVal(made), nil
	}
	return m.instance(address, found, common, rest, nil)
}

func (m *module) references(attribute *hcl.Attribute) error {
	if attribute == nil {
		return nil
	}
	listed, problems := hcl.ExprList(attribute.Expr)
	if problems.HasErrors() {
		return problems
	}
	for _, each := range listed {
		if _, err := m.scope(each.Variables(), nil); err != nil {
			return err
		}
	}
	return nil
}

func (m *module) instance(
	address string, found *hclsyntax.Block, common *hcl.BodyContent, rest hcl.Body, more map[string]cty.Value,
) (cty.Value, error) {
	if found.Type == "module" {
		return m.child(address, common, rest, more)
	}
	types, err := m.schema.of(found.Type, found.Labels[0])
	if err != nil {
		return cty.NilVal, err
	}
	spec := types.spec()
	references := append(dynblock.VariablesHCLDec(rest, spec), hcldec.Variables(rest, spec)...)
	scope, err := m.scope(references, more)
	if err != nil {
		return cty.NilVal, err
	}
	configured, problems := hcldec.Decode(dynblock.Expand(rest, scope), spec, scope)
	if problems.HasErrors() {
		return cty.NilVal, problems
	}
	if found.Type == "resource" {
		m.planned[address] = configured
		return types.planned(configured), nil
	}
	return m.source(address, types.planned(configured))
}

// source is a data source, with what the caller says that AWS has.
func (m *module) source(address string, planned cty.Value) (cty.Value, error) {
	values := planned.AsValueMap()
	for name, value := range m.data[address[len("data."):]] {
		if _, ok := values[name]; !ok {
			return cty.NilVal, fmt.Errorf("%s has no %s", address, name)
		}
		text, err := json.Marshal(value)
		if err != nil {
			return cty.NilVal, err
		}
		implied, err := ctyjson.ImpliedType(text)
		if err != nil {
			return cty.NilVal, err
		}
		if values[name], err = ctyjson.Unmarshal(text, implied); err != nil {
			return cty.NilVal, err
		}
	}
	return cty.ObjectVal(values), nil
}

// child evaluates a module that this one calls.
func (m *module) child(
	address string, common *hcl.BodyContent, rest hcl.Body, more map[string]cty.Value,
) (cty.Value, error) {
	attributes, problems := rest.JustAttributes()
	if problems.HasErrors() {
		return cty.NilVal, problems
	}
	given := map[string]cty.Value{}
	for name, each := range attributes {
		value, err := m.expression(each.Expr, more)
		if err != nil {
			return cty.NilVal, err
		}
		given[name] = value
	}
	source, err := m.expression(common.Attributes["source"].Expr, nil)
	if err != nil {
		return cty.NilVal, err
	}
	planned, outputs, err := evaluate(filepath.Join(m.folder, source.AsString()), m.schema, m.data, given)
	if err != nil {
		return cty.NilVal, err
	}
	for name, value := range planned {
		m.planned[address+"."+name] = value
	}
	return outputs, nil
}

func (m *module) output(found *hclsyntax.Block) (cty.Value, error) {
	if found.Body.Attributes["description"] == nil || found.Body.Attributes["value"] == nil {
		return cty.NilVal, fmt.Errorf("output %s lacks a description or value", found.Labels[0])
	}
	return m.expression(found.Body.Attributes["value"].Expr, nil)
}

// plain is a value for JSON, in which what is not known is {"unknown": true}; what is not set is left out.
func plain(value cty.Value) any {
	switch {
	case !value.IsKnown():
		return map[string]bool{"unknown": true}
	case value.IsNull():
		return nil
	case value.Type().IsObjectType() || value.Type().IsMapType():
		made := map[string]any{}
		for name, each := range value.AsValueMap() {
			if converted := plain(each); converted != nil {
				made[name] = converted
			}
		}
		return made
	case value.Type().IsTupleType() || value.CanIterateElements():
		made := []any{}
		for _, each := range value.AsValueSlice() {
			made = append(made, plain(each))
		}
		return made
	}
	text, err := ctyjson.Marshal(value, value.Type())
	if err != nil {
		return err.Error()
	}
	return json.RawMessage(text)
}

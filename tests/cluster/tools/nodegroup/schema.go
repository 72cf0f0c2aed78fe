package main

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// block is what a block of a resource may hold, by the provider's schema.
type block struct {
	Attributes map[string]attribute `json:"attributes"`
	Blocks     map[string]nested    `json:"blocks"`
	// Computed attributes can't be set.
	Computed []string `json:"computed"`
}

type attribute struct {
	Type     cty.Type
	Required bool
}

func (a *attribute) UnmarshalJSON(text []byte) error {
	var raw struct {
		Type     json.RawMessage `json:"type"`
		Required bool            `json:"required"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	found, err := ctyjson.UnmarshalType(raw.Type)
	a.Type, a.Required = found, raw.Required
	return err
}

type nested struct {
	block
	Many     bool `json:"many"`
	Required bool `json:"required"`
}

func (n *nested) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &n.block); err != nil {
		return err
	}
	var own struct{ Many, Required bool }
	err := json.Unmarshal(text, &own)
	n.Many, n.Required = own.Many, own.Required
	return err
}

// schema is a provider's: the types of its resources and data sources.
type schema struct {
	Resource map[string]block `json:"resource"`
	Data     map[string]block `json:"data"`
}

func (s schema) of(kind, name string) (block, error) {
	types := map[string]map[string]block{"resource": s.Resource, "data": s.Data}[kind]
	found, ok := types[name]
	if !ok {
		return block{}, fmt.Errorf("the schema has no %s of the type %s", kind, name)
	}
	return found, nil
}

func (b block) spec() hcldec.ObjectSpec {
	spec := hcldec.ObjectSpec{}
	for name, each := range b.Attributes {
		spec[name] = &hcldec.AttrSpec{Name: name, Type: each.Type, Required: each.Required}
	}
	for name, each := range b.Blocks {
		list := &hcldec.BlockListSpec{TypeName: name, Nested: each.spec()}
		if each.Required {
			list.MinItems = 1
		}
		if !each.Many {
			list.MaxItems = 1
		}
		spec[name] = list
	}
	return spec
}

// planned is a resource's value before it exists: what is not set is not known yet.
func (b block) planned(configured cty.Value) cty.Value {
	values := configured.AsValueMap()
	for name, each := range b.Attributes {
		if values[name].IsNull() {
			values[name] = cty.UnknownVal(each.Type)
		}
	}
	for _, name := range b.Computed {
		values[name] = cty.DynamicVal
	}
	return cty.ObjectVal(values)
}

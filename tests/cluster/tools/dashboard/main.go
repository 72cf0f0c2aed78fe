// Command dashboard reads a Grafana dashboard as strictly as Grafana's own types allow: unknown fields, wrong types and
// missing fields are errors.
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(table.VariantConfig())
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())

	content, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail(err)
	}
	read := dashboard.NewDashboard()
	// Without errors they return an empty list of them, which is not nil.
	if err := read.UnmarshalJSONStrict(content); err != nil && err.Error() != "" {
		fail(err)
	}
	if err := read.Validate(); err != nil && err.Error() != "" {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

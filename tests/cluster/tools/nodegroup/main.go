// check-nodegroup evaluates what users of examples/nodegroup have evaluated by Terraform and by nodeadm.
//
//	check-nodegroup terraform FOLDER < {"schema": {…}, "variables": {…}, "data": {"type.name": {…}}}
//	check-nodegroup max-pods EXPRESSION < [{"default_enis": 4, "ips_per_eni": 15}, …]
//
// It writes JSON to standard output, and ends with 1 and the problem on standard error.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: check-nodegroup terraform FOLDER | max-pods EXPRESSION"))
	}
	var answer any
	var err error
	switch os.Args[1] {
	case "terraform":
		answer, err = terraform(os.Args[2])
	case "max-pods":
		answer, err = maxPods(os.Args[2])
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answer)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func read(request any) error {
	return json.NewDecoder(os.Stdin).Decode(request)
}

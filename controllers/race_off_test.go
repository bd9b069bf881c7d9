//go:build !race

package controllers_test

// buildArgs: see race_on_test.go.
func buildArgs() []string { return nil }

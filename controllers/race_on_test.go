//go:build race

package controllers_test

// buildArgs make the program under test look for races when the test does.
func buildArgs() []string { return []string{"-race"} }

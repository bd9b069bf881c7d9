// Package chart has the tests of the Helm chart in charts/fairlead: that it renders what config/default has, that each value changes what it says
// and nothing else, that mistakes are refused, and that a real API server takes all that, through installation, upgrade, rollback and removal.
package chart

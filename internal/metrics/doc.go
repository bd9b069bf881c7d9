// Package metrics serves a program's metrics: by HTTPS and to those alone whom the API server knows and RBAC allows it, unless it is told to
// serve them plainly. What is measured is up to the packages that measure.
package metrics

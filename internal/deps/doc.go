// Package deps only keeps the module's pinned dependencies in go.mod until their users land.
package deps

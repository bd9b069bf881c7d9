// Package bench measures the programs against a real API server and real routers, with many Services. Its tests are the same with few.
package bench

//go:build !race

package record

// How much data the slow tests use.
const (
	largeSize = 380 << 10
	bombSize  = 256 << 20
	slowToo   = true // brotli at its best level for MaxPlain bytes
)

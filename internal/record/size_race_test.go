//go:build race

package record

// The race detector makes compressing 40 times slower, and this package starts
// nothing that could race: here the sizes only have to reach the same code.
const (
	largeSize = 38 << 10
	bombSize  = MaxPlain + 1<<20
	slowToo   = false
)

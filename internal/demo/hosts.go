package demo

import (
	"bytes"
	"fmt"
)

// Hosts returns a hosts file with one line for each machine. Machines in moved have another address.
func Hosts(lines int, moved ...int) []byte {
	elsewhere := map[int]bool{}
	for _, i := range moved {
		elsewhere[i] = true
	}
	var b bytes.Buffer
	for i := 1; i <= lines; i++ {
		network := "10.1"
		if elsewhere[i] {
			network = "10.77"
		}
		fmt.Fprintf(&b, "%s.%d.%d web-%04d.example web-%04[4]d\n", network, i/250, i%250+1, i)
	}
	return b.Bytes()
}

package order

import (
	"fmt"
	"net/netip"
	"strings"
)

// Parse reads a hosts file: lines of an address and its names, comments from # on,
// and empty lines. Names are taken as they are written. A line that is none of
// them is an error that names it, and so is a name that has another address above.
func Parse(content []byte) (map[string]netip.Addr, error) {
	hosts := make(map[string]netip.Addr)
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil {
			return nil, fmt.Errorf("line %d of the hosts file begins with %q, which is no address: %w", number, words[0], err)
		}
		if len(words) == 1 {
			return nil, fmt.Errorf("line %d of the hosts file has the address %s, but no name", number, addr)
		}
		addr = addr.Unmap()
		for _, name := range words[1:] {
			if other, twice := hosts[name]; twice && other != addr {
				return nil, fmt.Errorf("line %d of the hosts file gives %q the address %s, after %s above: a name has one address", number, name, addr, other)
			}
			hosts[name] = addr
		}
	}
	return hosts, nil
}

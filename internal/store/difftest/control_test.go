package difftest

import "testing"

// Two Consuls are the same. What differs between them is a fault of the test.
func TestConsulAgainstConsul(t *testing.T) {
	s := servers(t, consul(t), consul(t))
	random(t, s, 3000)
}

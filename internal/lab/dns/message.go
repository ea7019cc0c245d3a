package dns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// query is a question, and the bytes that ask it.
type query struct {
	id       uint16
	question dnsmessage.Question
	wire     []byte
}

// ask makes the question for a name's IPv4 addresses, under a random id.
func ask(name string) (query, error) {
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return query{}, errors.New("the name is empty")
	}
	full, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return query{}, err
	}
	q := query{
		id:       uint16(rand.Uint32()),
		question: dnsmessage.Question{Name: full, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.id, RecursionDesired: true},
		Questions: []dnsmessage.Question{q.question},
	}
	q.wire, err = m.Pack()
	return q, err
}

// reply is an answer and the server's code.
type reply struct {
	Answer
	code dnsmessage.RCode
}

// parse reads a message. It is false for whatever is no whole and well-formed
// reply to the question.
func parse(b []byte, q query) (reply, bool) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.ID != q.id || !h.Response || h.OpCode != 0 || h.Truncated {
		return reply{}, false
	}
	questions, err := p.AllQuestions()
	if err != nil || len(questions) != 1 || questions[0] != q.question {
		return reply{}, false
	}
	r := reply{code: h.RCode}
	for {
		a, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return reply{}, false
		}
		if a.Type != dnsmessage.TypeA || a.Class != dnsmessage.ClassINET || a.Name != q.question.Name {
			if p.SkipAnswer() != nil {
				return reply{}, false
			}
			continue
		}
		body, err := p.AResource()
		if err != nil {
			return reply{}, false
		}
		r.Addrs = append(r.Addrs, netip.AddrFrom4(body.A))
	}
	if h.RCode != dnsmessage.RCodeSuccess {
		return reply{code: h.RCode}, true
	}
	slices.SortFunc(r.Addrs, netip.Addr.Compare)
	r.Addrs = slices.Compact(r.Addrs)
	r.Exists = len(r.Addrs) > 0
	return r, true
}

// codeName is a code as other DNS tools spell it.
func codeName(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeFormatError:
		return "FORMERR: it did not understand the question"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL: it could not find out"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP: it does not answer such questions"
	case dnsmessage.RCodeRefused:
		return "REFUSED: it does not answer for this name"
	default:
		return fmt.Sprintf("code %d", c)
	}
}

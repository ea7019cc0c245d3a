package dns

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Whatever comes, it is read without a panic, and what is taken for the reply is
// one to the question, by the library's own reading of the whole message. The
// seeds in testdata are messages of a real dnsmasq, and broken ones.
func FuzzParse(f *testing.F) {
	q := query{id: 0x1234, question: dnsmessage.Question{
		Name: dnsmessage.MustNewName("web.lab.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}}
	question := dnsmessage.Message{Header: dnsmessage.Header{ID: q.id}, Questions: []dnsmessage.Question{q.question}}
	f.Add(to(question, 1, nil))
	for _, b := range lies(question) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parse(b, q)
		if !ok {
			if r.Exists || len(r.Addrs) > 0 {
				t.Fatalf("ignored, but with the answer %+v", r)
			}
			return
		}
		var p dnsmessage.Parser
		h, err := p.Start(b)
		if err != nil || h.ID != q.id || !h.Response || h.Truncated || h.RCode != r.code {
			t.Fatalf("taken for the reply: %+v, %v", h, err)
		}
		if questions, err := p.AllQuestions(); err != nil || !slices.Equal(questions, []dnsmessage.Question{q.question}) {
			t.Fatalf("taken for the reply to %v, %v", questions, err)
		}
		answers, err := p.AllAnswers()
		if err != nil && !skipped(b, q) {
			t.Fatalf("taken for the reply, but malformed: %v", err)
		}
		for _, addr := range r.Addrs {
			if err == nil && !slices.ContainsFunc(answers, func(a dnsmessage.Resource) bool {
				body, ok := a.Body.(*dnsmessage.AResource)
				return ok && netip.AddrFrom4(body.A) == addr
			}) {
				t.Fatalf("%s is in no record of %v", addr, answers)
			}
		}
		if r.Exists != (len(r.Addrs) > 0) || r.code != dnsmessage.RCodeSuccess && r.Exists || !slices.IsSortedFunc(r.Addrs, netip.Addr.Compare) {
			t.Fatalf("the answer contradicts itself: %+v", r)
		}
	})
}

// skipped says whether a message has records that are skipped, not read: their
// insides need not be good.
func skipped(b []byte, q query) bool {
	var p dnsmessage.Parser
	if _, err := p.Start(b); err != nil || p.SkipAllQuestions() != nil {
		return false
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return false
		}
		if h.Type != dnsmessage.TypeA || h.Class != dnsmessage.ClassINET || h.Name != q.question.Name {
			return true
		}
		if p.SkipAnswer() != nil {
			return false
		}
	}
}

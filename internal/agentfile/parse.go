package agentfile

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"
)

// parse reads YAML. The node is nil for a file that holds nothing but comments.
// The error belongs to the line, which is 0 for the file as a whole.
func parse(b []byte) (node ast.Node, line int, err error) {
	text, line, err := vetText(b)
	if err != nil {
		return nil, line, err
	}
	tokens, err := tokenize(text)
	if err != nil {
		return nil, lineOf(err), syntax(err)
	}
	if line, err := vetTokens(tokens); err != nil {
		return nil, line, err
	}
	// That a key stands twice is said by us, for each of them.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, lineOf(err), syntax(err)
	}
	for _, doc := range file.Docs {
		if _, null := doc.Body.(*ast.NullNode); doc.Body != nil && !null {
			return doc.Body, 0, nil
		}
	}
	return nil, 0, nil
}

// tokenize is lexer.Tokenize, which goes on after an error, and so may go over the
// text very often.
func tokenize(text string) (token.Tokens, error) {
	var s scanner.Scanner
	s.Init(text)
	var tokens token.Tokens
	for {
		some, err := s.Scan()
		if errors.Is(err, io.EOF) {
			return tokens, nil
		}
		if err != nil {
			return nil, err
		}
		tokens.Add(some...)
	}
}

// tokenOf is where the library found an error; nil if it does not say.
func tokenOf(err error) (*token.Token, string) {
	var scanned *scanner.InvalidTokenError
	if errors.As(err, &scanned) {
		return scanned.Token, scanned.Token.Error
	}
	var parsed interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &parsed) {
		return parsed.GetToken(), parsed.GetMessage()
	}
	return nil, "it cannot be read"
}

func lineOf(err error) int {
	if t, _ := tokenOf(err); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// syntax says what the library says, in one line and without a piece of the file.
func syntax(err error) error {
	_, message := tokenOf(err)
	remedy := ""
	switch {
	case strings.ContainsAny(message, "\t"):
		return errors.New("this is not YAML: a tab stands where spaces indent; write spaces")
	case strings.Contains(message, "mapping value is not allowed"):
		remedy = `; look at how the lines are indented, and put a value that holds ": " in quotes`
	case strings.Contains(message, "escape"):
		remedy = "; between single quotes a backslash is itself"
	case strings.Contains(message, "reserved character"):
		remedy = "; put the value in quotes"
	case strings.Contains(message, "value is not allowed in this context"), strings.Contains(message, "non-map value"):
		remedy = "; look at how the lines are indented"
	}
	return fmt.Errorf("this is not YAML: %s%s", strings.Map(onePrintable, message), remedy)
}

func onePrintable(r rune) rune {
	if unprintable(r) {
		return '?'
	}
	return r
}

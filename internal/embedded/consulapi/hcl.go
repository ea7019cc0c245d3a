package consulapi

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/scanner"
	hclstrconv "github.com/hashicorp/hcl/hcl/strconv"
	"github.com/hashicorp/hcl/hcl/token"
)

// maxDepth limits the nesting of blocks. A token file needs three.
const maxDepth = 16

// block is kind "name" { … } or name = "text".
type block struct {
	line   int
	labels []string // at least one
	text   *string  // nil: it is a block
	inside []block
}

// mistake is an error in a line. It never quotes the line: that may be a secret.
func mistake(line int, format string, args ...any) error {
	return fmt.Errorf("line %d: %w", line, fmt.Errorf(format, args...))
}

var (
	errDepth = errors.New("blocks are nested too deeply")
	errText  = errors.New("expected a quoted text or a block")
)

// parseHCL reads HCL.
func parseHCL(src []byte) ([]block, error) {
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n"))
	if err := scanHCL(src); err != nil {
		return nil, err
	}
	file, err := parser.Parse(src)
	if err != nil {
		return nil, notHCL(err)
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return nil, errors.New("it contains no blocks")
	}
	return blocks(list)
}

// notHCL leaves out the words of the parser, which quote the file.
func notHCL(err error) error {
	var at *parser.PosError
	if !errors.As(err, &at) {
		return errors.New(`it ends inside a block; a block looks like key_prefix "a/" { policy = "read" }`)
	}
	return mistake(at.Pos.Line, `syntax error at column %d; a block looks like key_prefix "a/" { policy = "read" }`,
		at.Pos.Column)
}

// scanHCL refuses deep nesting, for which the recursive parser would use up the stack.
func scanHCL(src []byte) error {
	s := scanner.New(src)
	s.Error = func(token.Pos, string) {} // the parser finds it again
	for depth := 0; ; {
		tok := s.Scan()
		switch tok.Type {
		case token.EOF:
			return nil
		case token.LBRACE, token.LBRACK:
			depth++
		case token.RBRACE, token.RBRACK:
			depth--
		}
		if depth > maxDepth {
			return mistake(tok.Pos.Line, "%w", errDepth)
		}
	}
}

func blocks(list *ast.ObjectList) (all []block, err error) {
	for _, item := range list.Items {
		b := block{line: item.Pos().Line}
		if len(item.Keys) == 0 {
			return nil, mistake(b.line, "%w", errText)
		}
		for _, key := range item.Keys {
			label, err := unquote(key.Token)
			if err != nil {
				return nil, err
			}
			b.labels = append(b.labels, label)
		}
		switch n := item.Val.(type) {
		case *ast.ObjectType:
			b.inside, err = blocks(n.List)
		case *ast.LiteralType:
			text, unquoteErr := unquote(n.Token)
			if b.text, err = &text, unquoteErr; n.Token.Type != token.STRING {
				err = mistake(b.line, "%w", errText)
			}
		default:
			err = mistake(b.line, "%w", errText)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func unquote(t token.Token) (string, error) {
	if t.Type == token.IDENT {
		return t.Text, nil
	}
	text, err := hclstrconv.Unquote(t.Text)
	if err != nil {
		return "", mistake(t.Pos.Line, "invalid quoted text; write \\\" for a quote in it, and \\\\ for a backslash")
	}
	return text, nil
}

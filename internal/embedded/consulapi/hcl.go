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

// value is a text, or the entries of an object.
type value struct {
	line    int
	text    *string
	entries []entry
}

// entry is a name with its value. A block with a label is an object in an object, as in HCL.
type entry struct {
	name string
	line int
	value
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
func parseHCL(src []byte) (value, error) {
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n"))
	if err := scanHCL(src); err != nil {
		return value{}, err
	}
	file, err := parser.Parse(src)
	if err != nil {
		return value{}, notHCL(err)
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return value{}, errors.New("it contains no blocks")
	}
	return object(1, list)
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
	var wrong error
	s.Error = func(at token.Pos, msg string) { wrong = notHCL(&parser.PosError{Pos: at, Err: errors.New(msg)}) }
	depth := 0
	for {
		tok := s.Scan()
		switch {
		case wrong != nil:
			return wrong
		case tok.Type == token.EOF:
			return nil
		case tok.Type == token.LBRACE || tok.Type == token.LBRACK:
			depth++
		case tok.Type == token.RBRACE || tok.Type == token.RBRACK:
			depth--
		}
		if depth > maxDepth {
			return mistake(tok.Pos.Line, "%w", errDepth)
		}
	}
}

func object(line int, list *ast.ObjectList) (value, error) {
	v := value{line: line, entries: make([]entry, 0, len(list.Items))}
	for _, item := range list.Items {
		e, err := nested(item.Keys, item.Val)
		if err != nil {
			return value{}, err
		}
		v.entries = append(v.entries, e)
	}
	return v, nil
}

// nested reads a block with all of its labels.
func nested(keys []*ast.ObjectKey, val ast.Node) (entry, error) {
	if len(keys) == 0 || len(keys) > maxDepth {
		return entry{}, mistake(val.Pos().Line, "%w", errDepth)
	}
	line := keys[0].Pos().Line
	name, err := unquote(keys[0].Token)
	if err != nil {
		return entry{}, err
	}
	if len(keys) == 1 {
		v, err := hclValue(line, val)
		return entry{name: name, line: line, value: v}, err
	}
	inner, err := nested(keys[1:], val)
	return entry{name: name, line: line, value: value{line: line, entries: []entry{inner}}}, err
}

func hclValue(line int, node ast.Node) (value, error) {
	switch n := node.(type) {
	case *ast.LiteralType:
		if n.Token.Type != token.STRING {
			return value{}, mistake(n.Token.Pos.Line, "%w", errText)
		}
		text, err := unquote(n.Token)
		return value{line: line, text: &text}, err
	case *ast.ObjectType:
		return object(line, n.List)
	default:
		return value{}, mistake(line, "%w", errText)
	}
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

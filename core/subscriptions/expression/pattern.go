package expression

import (
	"fmt"
	"regexp"
	"regexp/syntax"
)

const (
	// maxPatternSize bounds the programs of the patterns of one expression together, in
	// instructions. One takes up to 100 bytes.
	maxPatternSize = 5_000
	// stepsPerCost is how many instructions a cost of 1 pays for while a pattern is looked
	// for. At worst each is done for each character of the text.
	stepsPerCost = 16
	// runesPerInstruction is how much of a class of characters counts as an instruction.
	runesPerInstruction = 8
)

// pattern is a compiled regular expression.
type pattern struct {
	*regexp.Regexp
	size int // at most so many instructions
}

// compilePattern compiles a regular expression, unless its program would be larger than most.
func compilePattern(source string, most int) (*pattern, error) {
	tree, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return nil, err
	}
	size := patternSize(tree)
	if size > most {
		return nil, fmt.Errorf("the patterns take more than %d instructions; {n,m} counts m times", maxPatternSize)
	}
	compiled, err := regexp.Compile(source)
	return &pattern{compiled, size}, err
}

// patternSize returns an upper bound of the instructions of the program of a pattern, or more
// than maxPatternSize.
func patternSize(tree *syntax.Regexp) int { return 3 + sizeOf(tree) } // to begin, match and fail

// sizeOf returns how much a part of a pattern adds. It stops to count at maxPatternSize+1.
func sizeOf(tree *syntax.Regexp) int {
	size := 2
	switch tree.Op {
	case syntax.OpLiteral:
		size += len(tree.Rune)
	case syntax.OpCharClass:
		size += len(tree.Rune) / runesPerInstruction
	}
	for _, sub := range tree.Sub {
		size += 1 + sizeOf(sub)
		if size > maxPatternSize {
			return maxPatternSize + 1
		}
	}
	if tree.Op == syntax.OpRepeat {
		size *= max(tree.Min+1, tree.Max)
	}
	return min(size, maxPatternSize+1)
}

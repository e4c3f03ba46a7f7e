package architest

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The budgets of documents: people read short lines, short sentences and short answers.
const (
	maxColumns           = 100
	maxSentenceWords     = 40
	maxParagraphLines    = 6
	maxArchitectureLines = 200
	maxRationaleLines    = 400
	maxAnswerSentences   = 6
)

// retired are identifiers that meant several things, or nothing to somebody new, and what
// takes their place. They do not come back.
var retired = map[string]string{
	"aside":      "parked",
	"hangUp":     "close",
	"hear":       "noteActivity",
	"hurry":      "stepCtx, or pollNow",
	"keeper":     "checkpointer, or recovery",
	"lastWords":  "closeGrace",
	"life":       "incarnation",
	"Patience":   "RetryFor",
	"patience":   "retryFor",
	"resting":    "retrying",
	"sayGoodbye": "writeClose",
	"scribe":     "sink",
	"shape":      "selector",
	"told":       "reported",
	"turns":      "readyLeases",
}

func TestRetiredNames(t *testing.T) {
	for _, f := range sources(t) {
		seen := map[string]bool{}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && retired[id.Name] != "" && !seen[id.Name] {
				seen[id.Name] = true
				t.Errorf("%s:%d: %s is a retired name; write %s", f.name, f.line(id.Pos()), id.Name, retired[id.Name])
			}
			return true
		})
	}
}

func TestDocuments(t *testing.T) {
	for _, name := range documents(t) {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range checkDocument(path.Base(name), string(text)) {
			t.Errorf("%s:%s", name, problem)
		}
	}
}

// documents are the Markdown files of the module.
func documents(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir("../..", func(name string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "../.." && (d.Name()[0] == '.' || slices.Contains([]string{"node_modules", "testdata", "build", "data"}, d.Name())):
			return filepath.SkipDir
		case filepath.Ext(name) == ".md":
			rel, err := filepath.Rel("../..", name)
			names = append(names, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil || len(names) < 5 {
		t.Fatalf("%d documents: %v", len(names), err)
	}
	return names
}

// checkDocument returns what is over a budget, each with its line.
func checkDocument(name, text string) (problems []string) {
	complain := func(line int, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%d: %s", line, fmt.Sprintf(format, args...)))
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	most := map[string]int{"ARCHITECTURE.md": maxArchitectureLines, "RATIONALE.md": maxRationaleLines}[name]
	if most > 0 && len(lines) > most {
		complain(most+1, "the document has %d lines, the budget is %d", len(lines), most)
	}
	answer, question := 0, 0 // sentences of the present answer, and the line of its question
	for _, p := range paragraphs(lines) {
		if p.heading != "" {
			answer, question = 0, p.line
		}
		for i, line := range p.lines {
			if n := utf8.RuneCountInString(line); n > maxColumns && strings.Contains(strings.TrimSpace(line), " ") {
				complain(p.line+i, "the line has %d columns, the budget is %d", n, maxColumns)
			}
		}
		if len(p.lines) > maxParagraphLines {
			complain(p.line, "the paragraph has %d lines, the budget is %d", len(p.lines), maxParagraphLines)
		}
		for _, s := range sentences(p.lines) {
			answer++
			if n := len(strings.Fields(s)); n > maxSentenceWords {
				complain(p.line, "a sentence has %d words, the budget is %d: %.60s…", n, maxSentenceWords, s)
			}
		}
		if name == "RATIONALE.md" && question > 0 && answer == maxAnswerSentences+1 {
			complain(question, "the answer has more than %d sentences", maxAnswerSentences)
			question = 0
		}
	}
	return problems
}

// paragraph is lines of prose that belong together: a paragraph, an item of a list, or a
// heading. Tables and code are none.
type paragraph struct {
	line    int // of its first, from 1
	lines   []string
	heading string
}

var listItem = regexp.MustCompile(`^\s*([-*]|\d+\.)\s`)

func paragraphs(lines []string) (list []paragraph) {
	open, fenced, inList := false, false, false
	for i, line := range lines {
		trimmed := strings.TrimSpace(line)
		isItem := listItem.MatchString(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			fenced, open = !fenced, false
		case fenced, strings.HasPrefix(trimmed, "|"), strings.HasPrefix(trimmed, "<"):
			open = false
		case trimmed == "":
			open = false
		case strings.HasPrefix(line, "    ") && !open && !isItem && !inList:
			// code
		case strings.HasPrefix(line, "#"):
			list = append(list, paragraph{line: i + 1, heading: trimmed})
			open, inList = false, false
		case isItem || !open:
			list = append(list, paragraph{line: i + 1, lines: []string{line}})
			open, inList = true, isItem || inList && strings.HasPrefix(line, " ")
		default:
			last := &list[len(list)-1]
			last.lines = append(last.lines, line)
		}
	}
	return list
}

var (
	codeSpan    = regexp.MustCompile("`[^`]*`")
	linkTarget  = regexp.MustCompile(`\]\([^)]*\)`)
	sentenceEnd = regexp.MustCompile(`[.!?:][)"*_]*\s+`)
)

// sentences are those of a paragraph. Code in them counts as one word. A colon ends one,
// as far as its length is concerned.
func sentences(lines []string) (list []string) {
	text := strings.Join(lines, " ")
	text = codeSpan.ReplaceAllString(text, "code")
	text = linkTarget.ReplaceAllString(text, "]")
	for _, s := range sentenceEnd.Split(text, -1) {
		if strings.TrimSpace(s) != "" {
			list = append(list, s)
		}
	}
	return list
}

func TestDocumentsAreChecked(t *testing.T) {
	long := strings.Repeat("word ", maxSentenceWords+1)
	cases := map[string]int{ // how many problems
		"# A heading\n\nOne sentence. Another `with a lot of code in it`.\n":     0,
		strings.Repeat("x", maxColumns) + " y\n":                                 1,
		"| " + strings.Repeat("x ", maxColumns) + "|\n":                          0,
		"    " + strings.Repeat("x ", maxColumns) + "\n":                         0,
		"```\n" + strings.Repeat("x ", maxColumns) + "\n```\n":                   0,
		strings.ReplaceAll(long, "word word word word", "word word word word\n"): 2, // its lines too
		strings.Repeat("A line.\n", maxParagraphLines+1):                         1,
		strings.Repeat("- An item.\n", 2*maxParagraphLines):                      0,
		"https://example.org/" + strings.Repeat("x", maxColumns) + "\n":          0,
	}
	for text, want := range cases {
		if got := checkDocument("X.md", text); len(got) != want {
			t.Errorf("%.40q…: %q, want %d problems", text, got, want)
		}
	}
	answer := "### Why?\n\n" + strings.Repeat("So.\n\n", maxAnswerSentences)
	if got := checkDocument("RATIONALE.md", answer); len(got) != 0 {
		t.Errorf("an answer: %q", got)
	}
	if got := checkDocument("RATIONALE.md", answer+"And so.\n"); len(got) != 1 {
		t.Errorf("a long answer: %q", got)
	}
	if got := checkDocument("ARCHITECTURE.md", strings.Repeat("\n", maxArchitectureLines)+"x"); len(got) != 1 {
		t.Errorf("a long document: %q", got)
	}
}

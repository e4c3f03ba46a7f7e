package core

import "bytes"

// checkJSON holds valid JSON to the limits that readers in other languages have. A
// text as short as most are cannot pass them and is not looked at.
func checkJSON(what string, text []byte) *Error {
	if len(text) <= min(2*MaxJSONDepth, MaxJSONNumberBytes) {
		return nil
	}
	depth, number := measureJSON(text)
	if depth > MaxJSONDepth {
		e := Errorf(CodeDataTooComplex, "%s has lists and objects %d deep, the limit is %d", what, depth, MaxJSONDepth)
		e.Limit = MaxJSONDepth
		return e
	}
	if number > MaxJSONNumberBytes {
		e := Errorf(CodeDataTooComplex, "%s has a number of %d bytes, the limit is %d", what, number, MaxJSONNumberBytes)
		e.Limit = MaxJSONNumberBytes
		return e
	}
	return nil
}

// measureJSON returns how deep the lists and objects of a valid JSON text are nested, and
// how long its longest number is.
func measureJSON(text []byte) (depth, number int) {
	for open := 0; len(text) > 0; {
		n := 1
		switch c := text[0]; c {
		case '"':
			n = stringLen(text)
		case '[', '{':
			open++
			depth = max(depth, open)
		case ']', '}':
			open--
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			for n < len(text) && isNumberByte(text[n]) {
				n++
			}
			number = max(number, n)
		}
		text = text[n:]
	}
	return depth, number
}

// stringLen is the length of the string that text begins with, quotes included.
func stringLen(text []byte) int {
	n := 1
	for {
		i := bytes.IndexByte(text[n:], '"')
		if i < 0 {
			return len(text)
		}
		quote := n + i
		n = quote + 1
		escapes := 0
		for escapes < i && text[quote-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return n
		}
	}
}

func isNumberByte(c byte) bool {
	return c >= '0' && c <= '9' || c == '.' || c == '-' || c == '+' || c|0x20 == 'e'
}

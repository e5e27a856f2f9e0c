package fetch

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// StatusError is an answer other than the file.
type StatusError struct {
	Request string // "GET https://..."
	Status  int
	Text    string // as the server words it: "404 Not Found", and what a registry says about it
}

func (e *StatusError) Error() string { return e.Request + ": " + e.Text }

// passing reports a status that may be another one soon.
func passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// maxProblem bounds what is read of an answer that is not the file, in bytes.
const maxProblem = 8 << 10

// problem returns what a registry says beside a status, as ": CODE, message"; "" if body holds nothing of the kind. Format:
// OCI distribution specification, "Error Codes".
func problem(body io.Reader) string {
	var answer struct {
		Errors []struct{ Code, Message string }
	}
	data, _ := io.ReadAll(io.LimitReader(body, maxProblem))
	if json.Unmarshal(data, &answer) != nil || len(answer.Errors) == 0 {
		return ""
	}
	return said(answer.Errors[0].Code, answer.Errors[0].Message)
}

func said(code, message string) string {
	text := strings.Trim(code+", "+message, ", ")
	if text == "" {
		return ""
	}
	return ": " + strings.Trim(fmt.Sprintf("%.200q", text), `"`) // quoted, because a terminal shows it
}

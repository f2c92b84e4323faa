package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"licet"
)

// --- webhooks: a server of our own ----------------------------------------------------------

// inbox takes webhooks, and keeps those that the market signed.
type inbox struct {
	secret, forged string
	taken          chan licet.Event
}

// isSigned verifies a request of Standard Webhooks.
func (in *inbox) isSigned(header http.Header, body []byte) bool {
	id, at := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age.Abs() > 5*time.Minute {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(in.secret, "whsec_"))
	check(err)
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	for _, given := range strings.Fields(header.Get("webhook-signature")) {
		signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(given, "v1,"))
		if err == nil && hmac.Equal(signature, mac.Sum(nil)) {
			return true
		}
	}
	return false
}

func (in *inbox) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	check(err)
	changed := strings.ReplaceAll(string(body), "grt_", "grx_")
	if !in.isSigned(request.Header, []byte(changed)) {
		in.forged = "refused"
	}
	if !in.isSigned(request.Header, body) {
		answer.WriteHeader(http.StatusBadRequest)
		return
	}
	var event licet.Event
	check(json.Unmarshal(body, &event))
	answer.WriteHeader(http.StatusOK)
	in.taken <- event
}

// --- receipts: with the code of Go's checksum database --------------------------------------

func entryOf(receipt string) []byte {
	extra := strings.TrimPrefix(strings.Split(receipt, "\n")[1], "extra ")
	opened := struct{ Entry string }{}
	decoded, err := base64.StdEncoding.DecodeString(extra)
	check(err)
	check(json.Unmarshal(decoded, &opened))
	return []byte(opened.Entry)
}

// verdict says whether a receipt proves that this entry stands in the market's log.
func verdict(receipt string, entry []byte) string {
	head, signed, _ := strings.Cut(receipt, "\n\n")
	lines := strings.Split(head, "\n")
	verifier, err := note.NewVerifier(strings.TrimSpace(os.Getenv("LICET_VKEY")))
	check(err)
	opened, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		return "refused"
	}
	checkpoint := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(checkpoint[1], 10, 64)
	check(err)
	root, err := tlog.ParseHash(checkpoint[2])
	check(err)
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	check(err)
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		step, err := tlog.ParseHash(line)
		check(err)
		proof = append(proof, step)
	}
	if tlog.CheckRecord(proof, size, root, index, tlog.RecordHash(entry)) != nil {
		return "refused"
	}
	return "sound"
}

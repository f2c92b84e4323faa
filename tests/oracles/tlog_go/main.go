// Verifies logs, receipts and proofs with the code of Go's checksum database
// (golang.org/x/mod/sumdb/note and tlog). Reads one JSON object from standard input and writes,
// for each case in it, "" where it is accepted or the reason why it is not.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type input struct {
	VKey     string
	Receipts []struct {
		Note  string
		Entry []byte
		Index int64
		Proof [][]byte
	}
	Growths []struct {
		Old, New string
		Proof    [][]byte
	}
	Exports []string
}

type output struct {
	Receipts, Growths, Exports []string
}

func main() {
	var in input
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	out := output{[]string{}, []string{}, []string{}}
	for _, r := range in.Receipts {
		out.Receipts = append(out.Receipts, said(func() error {
			tree, err := open(r.Note, in.VKey)
			if err != nil {
				return err
			}
			proof, err := hashes(r.Proof)
			if err != nil {
				return err
			}
			return tlog.CheckRecord(proof, tree.N, tree.Hash, r.Index, tlog.RecordHash(r.Entry))
		}))
	}
	for _, g := range in.Growths {
		out.Growths = append(out.Growths, said(func() error {
			old, err := open(g.Old, in.VKey)
			if err != nil {
				return err
			}
			grown, err := open(g.New, in.VKey)
			if err != nil {
				return err
			}
			proof, err := hashes(g.Proof)
			if err != nil {
				return err
			}
			return tlog.CheckTree(proof, grown.N, grown.Hash, old.N, old.Hash)
		}))
	}
	for _, dir := range in.Exports {
		out.Exports = append(out.Exports, said(func() error { return checkExport(dir, in.VKey) }))
	}
	json.NewEncoder(os.Stdout).Encode(out)
}

func said(check func() error) string {
	if err := check(); err != nil {
		return err.Error()
	}
	return ""
}

func open(signed, vkey string) (tlog.Tree, error) {
	var tree tlog.Tree
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != verifier.Name() {
		return tree, fmt.Errorf("not a checkpoint of %s", verifier.Name())
	}
	tree.N, err = strconv.ParseInt(lines[1], 10, 64)
	if err != nil || strconv.FormatInt(tree.N, 10) != lines[1] {
		return tree, fmt.Errorf("size %q", lines[1])
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

func hashes(steps [][]byte) ([]tlog.Hash, error) {
	found := []tlog.Hash{}
	for _, step := range steps {
		var hash tlog.Hash
		if len(step) != len(hash) {
			return nil, fmt.Errorf("a step has %d bytes", len(step))
		}
		copy(hash[:], step)
		found = append(found, hash)
	}
	return found, nil
}

// stored holds the hashes of a log, computed here from its entries.
type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := []tlog.Hash{}
	for _, index := range indexes {
		found = append(found, s[index])
	}
	return found, nil
}

// files reads tiles as they lie in the directory.
type files string

func (f files) Height() int                             { return 8 }
func (f files) SaveTiles(tiles []tlog.Tile, d [][]byte) {}
func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := [][]byte{}
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(string(f), path(tile)))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

// path is Go's own, without the height, which is always 8 in tlog-tiles.
func path(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
}

// tilesOf lists the tiles of a tree, full ones and at most one partial one in each level. (Go's
// NewTiles lists more: its database published every width of a partial tile.)
func tilesOf(size int64) []tlog.Tile {
	found := []tlog.Tile{}
	for level := 0; size > 0; level++ {
		for n := int64(0); n < size/256; n++ {
			found = append(found, tlog.Tile{H: 8, L: level, N: n, W: 256})
		}
		if width := size % 256; width > 0 {
			found = append(found, tlog.Tile{H: 8, L: level, N: size / 256, W: int(width)})
		}
		size /= 256
	}
	return found
}

// checkExport recomputes a log from its entries, and compares with every tile and the signed root.
func checkExport(dir, vkey string) error {
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := open(string(signed), vkey)
	if err != nil {
		return err
	}
	var all stored
	for n := int64(0); n*256 < tree.N; n++ {
		width := tree.N - n*256
		if width > 256 {
			width = 256
		}
		tile := tlog.Tile{H: 8, L: 0, N: n, W: int(width)}
		bundle, err := os.ReadFile(filepath.Join(dir, strings.Replace(path(tile), "tile/0/", "tile/entries/", 1)))
		if err != nil {
			return err
		}
		for i := int64(0); i < width; i++ {
			if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
				return fmt.Errorf("entry %d is cut", n*256+i)
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			more, err := tlog.StoredHashes(n*256+i, bundle[2:end], all)
			if err != nil {
				return err
			}
			all, bundle = append(all, more...), bundle[end:]
		}
		if len(bundle) > 0 {
			return fmt.Errorf("bundle %d holds more than its entries", n)
		}
	}
	root, err := tlog.TreeHash(tree.N, all)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("the entries make the root %s, signed is %s", root, tree.Hash)
	}
	for _, tile := range tilesOf(tree.N) {
		made, err := tlog.ReadTileData(tile, all)
		if err != nil {
			return err
		}
		lies, err := os.ReadFile(filepath.Join(dir, path(tile)))
		if err != nil {
			return err
		}
		if !bytes.Equal(made, lies) {
			return fmt.Errorf("%s is not made of the entries", path(tile))
		}
	}
	// And as a client reads: a few proofs out of tiles alone, each checked up to the root.
	reader := tlog.TileHashReader(tree, files(dir))
	for _, index := range []int64{0, tree.N / 3, tree.N / 2, tree.N - 1} {
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return err
		}
		leaf := all[tlog.StoredHashIndex(0, index)]
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf); err != nil {
			return err
		}
	}
	if vkeyFile, err := os.ReadFile(filepath.Join(dir, "vkey")); err != nil {
		return err
	} else if string(vkeyFile) != vkey+"\n" {
		return fmt.Errorf("vkey is not the key")
	}
	return nil
}

// Command sumdb reads one log written by matrix-ckv from standard input and checks it with golang.org/x/mod/sumdb: the
// checkpoint with package note, and every record, through the tiles, with package tlog. It prints what it checked.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// input is what the test writes: byte strings are base64, as encoding/json has them.
type input struct {
	Vkey       string
	Checkpoint string
	Tiles      map[string][]byte
	Records    [][]byte
	// Consistency from OldRoot, the root of the first OldSize records.
	OldSize     int64
	OldRoot     []byte
	Consistency [][]byte
	// Inclusion of record Index.
	Index     int64
	Inclusion [][]byte
}

func main() {
	log.SetFlags(0)
	var in input
	check(json.NewDecoder(os.Stdin).Decode(&in))

	tree := openCheckpoint(in.Vkey, in.Checkpoint)
	hashes := tlog.TileHashReader(tree, tiles(in.Tiles))
	for i, record := range in.Records {
		read, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(i))})
		check(err)
		if read[0] != tlog.RecordHash(record) {
			log.Fatalf("record %d is not the leaf of its tile", i)
		}
	}
	old := hashOf(in.OldRoot)
	check(tlog.CheckTree(tlog.TreeProof(list(in.Consistency)), tree.N, tree.Hash, in.OldSize, old))
	check(tlog.CheckRecord(tlog.RecordProof(list(in.Inclusion)), tree.N, tree.Hash, in.Index, tlog.RecordHash(in.Records[in.Index])))
	fmt.Printf("checkpoint of %d, %d records, consistency from %d, inclusion of %d\n", tree.N, len(in.Records), in.OldSize, in.Index)
}

func openCheckpoint(vkey, checkpoint string) tlog.Tree {
	verifier, err := note.NewVerifier(vkey)
	check(err)
	opened, err := note.Open([]byte(checkpoint), note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		log.Fatalf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := tlog.ParseHash(lines[2])
	check(err)
	return tlog.Tree{N: size, Hash: root}
}

// tiles answers for package tlog from the paths of tlog-tiles, which leave out the height.
type tiles map[string][]byte

func (t tiles) Height() int { return 8 }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(wanted))
	for i, tile := range wanted {
		path := "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
		bytes, ok := t[path]
		if !ok {
			return nil, fmt.Errorf("no tile %s", path)
		}
		data[i] = bytes
	}
	return data, nil
}

func list(hashes [][]byte) []tlog.Hash {
	all := make([]tlog.Hash, len(hashes))
	for i, bytes := range hashes {
		all[i] = hashOf(bytes)
	}
	return all
}

func hashOf(bytes []byte) tlog.Hash {
	var hash tlog.Hash
	if copy(hash[:], bytes) != len(bytes) || len(bytes) != len(hash) {
		log.Fatalf("a hash of %d bytes", len(bytes))
	}
	return hash
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

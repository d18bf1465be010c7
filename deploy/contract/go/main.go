// Publish sends a document to Ebb: publish COLLECTION ID TEXT..., each text a chunk.
//
// The server and the login come from the environment, under the names that every program of Ebb takes; EBB_MODEL_NAME
// is the model of the lanes, minilm by default.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

type job struct {
	Version    string     `json:"version"`
	Kind       string     `json:"kind"`
	Collection string     `json:"collection"`
	Documents  []document `json:"documents"`
}

type document struct {
	ID      string  `json:"id"`
	Version int64   `json:"version"`
	Chunks  []chunk `json:"chunks"`
}

type chunk struct {
	Text string `json:"text"`
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 4 {
		log.Fatal("usage: publish COLLECTION ID TEXT...")
	}
	if err := publish(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		log.Fatalf("not published: %v", err)
	}
}

func publish(collection, id string, texts []string) error {
	// The newest version wins, in whatever order jobs arrive. Publishing this one again changes nothing.
	doc := document{ID: id, Version: time.Now().UnixMicro()}
	for _, text := range texts {
		doc.Chunks = append(doc.Chunks, chunk{text})
	}
	payload, err := json.Marshal(job{"1.0", "embed", collection, []document{doc}})
	if err != nil {
		return err
	}
	connection, err := nats.Connect(setting("NATS_URL", nats.DefaultURL), login()...)
	if err != nil {
		return err
	}
	defer connection.Close()
	stream, err := jetstream.New(connection)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	subject := fmt.Sprintf("jobs.embed.%s.live", setting("EBB_MODEL_NAME", "minilm"))
	// A job whose acknowledgement was lost is recognised for 20 minutes when it is sent again with its id.
	msgID := fmt.Sprintf("%s/%s/%d", collection, id, doc.Version)
	stored, err := stream.Publish(ctx, subject, payload, jetstream.WithMsgID(msgID), jetstream.WithExpectStream("JOBS"))
	if err != nil {
		return err
	}
	fmt.Printf("stored as job %d, version %d\n", stored.Sequence, doc.Version)
	return nil
}

func login() []nats.Option {
	options := []nats.Option{nats.CustomInboxPrefix(setting("NATS_INBOX_PREFIX", "_INBOX"))}
	if user, given := os.LookupEnv("NATS_USER"); given {
		options = append(options, nats.UserInfo(user, os.Getenv("NATS_PASSWORD")))
	}
	if ca, given := os.LookupEnv("NATS_CA"); given {
		options = append(options, nats.RootCAs(ca))
	}
	return options
}

func setting(name, otherwise string) string {
	if value, given := os.LookupEnv(name); given {
		return value
	}
	return otherwise
}

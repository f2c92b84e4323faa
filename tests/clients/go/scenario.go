// A buyer's program in Go, with the generated client: from a search to a verified receipt.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"licet"
)

var (
	ctx    = context.Background()
	market = connect()
)

func connect() *licet.APIClient {
	settings := licet.NewConfiguration()
	settings.Servers = licet.ServerConfigurations{{URL: os.Getenv("LICET_URL")}}
	settings.AddDefaultHeader("Authorization", "Bearer "+os.Getenv("LICET_KEY"))
	return licet.NewAPIClient(settings)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func allListings() (found []string) {
	request := market.ListingsAPI.ListListings(ctx).Limit(2)
	for {
		page, _, err := request.Execute()
		check(err)
		for _, listing := range page.Data {
			found = append(found, listing.Id)
		}
		if !page.HasMore {
			return found
		}
		request = request.Cursor(*page.NextCursor.Get())
	}
}

func quoteFor(offer, use string) (*licet.Quote, error) {
	wanted := licet.MakeQuoteRequest{Offer: offer, Uses: []string{use}, Territories: []string{"DE"}}
	quote, _, err := market.QuotesAPI.CreateQuote(ctx).MakeQuoteRequest(wanted).Execute()
	return quote, err
}

// place accepts a quote. After a lost answer, the same request is sent again: it makes one order.
func place(quote *licet.Quote) *licet.Order {
	accept := licet.AcceptBodyRequest{
		DocumentSha256: quote.DocumentSha256, Name: "Lin Chen", Title: "Counsel", Authority: true,
	}
	random := make([]byte, 16)
	rand.Read(random)
	request := market.OrdersAPI.CreateOrder(ctx).IdempotencyKey(hex.EncodeToString(random)).
		PlaceOrderRequest(licet.PlaceOrderRequest{Quote: quote.Id, Accept: accept})
	for attempt := 0; attempt < 3; attempt++ {
		order, answer, err := request.Execute()
		if answer == nil {
			continue
		}
		check(err)
		return order
	}
	log.Fatal("no answer")
	return nil
}

// granted waits until somebody paid the order, and its license was given.
func granted(id string) *licet.Grant {
	for attempt := 0; attempt < 300; attempt++ {
		order, _, err := market.OrdersAPI.GetOrder(ctx, id).Execute()
		check(err)
		if order.Status == licet.ORDERSTATUSENUM_GRANTED {
			grant, _, err := market.GrantsAPI.GetGrant(ctx, *order.Grant.Get()).Execute()
			check(err)
			return grant
		}
		time.Sleep(100 * time.Millisecond)
	}
	log.Fatal("not granted")
	return nil
}

func receiptOf(grant string) string {
	for attempt := 0; attempt < 30; attempt++ {
		receipt, answer, err := market.GrantsAPI.GetGrantReceipt(ctx, grant).Wait(1).Execute()
		if answer != nil && answer.StatusCode == http.StatusOK {
			check(err)
			return receipt
		}
	}
	log.Fatal("no receipt")
	return ""
}

func refusal(offer string) map[string]any {
	_, err := quoteFor(offer, "\u2603")
	var refused *licet.GenericOpenAPIError
	if !errors.As(err, &refused) {
		log.Fatal("not refused: ", err)
	}
	problem := refused.Model().(licet.Problem)
	return map[string]any{
		"status": problem.Status, "code": problem.Code, "param": problem.GetParam(),
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	in := &inbox{taken: make(chan licet.Event, 1)}
	go http.Serve(listener, in)
	wanted := licet.CreateWebhookEndpointRequest{
		Url: fmt.Sprintf("http://%s/", listener.Addr()), Types: []string{"grant.issued"},
	}
	endpoint, _, err := market.WebhookEndpointsAPI.CreateWebhookEndpoint(ctx).
		CreateWebhookEndpointRequest(wanted).Execute()
	check(err)
	in.secret = *endpoint.Secret.Get()

	page, _, err := market.ListingsAPI.ListListings(ctx).Q("herbarium").Execute()
	check(err)
	listing := page.Data[0]
	quote, err := quoteFor(listing.Id, "pretrain")
	check(err)
	order := place(quote)
	grant := granted(order.Id)
	event := <-in.taken
	receipt := receiptOf(grant.Id)
	entry := entryOf(receipt)
	if !strings.Contains(string(entry), `"grant_ref":"`+grant.Ledger.GrantRef+`"`) {
		log.Fatal("a receipt of something else")
	}
	said, err := json.Marshal(map[string]any{
		"found":           []string{listing.Id},
		"paged":           allListings(),
		"order":           order.Id,
		"grant":           grant.Id,
		"webhook":         event.Data["grant"],
		"forged":          in.forged,
		"receipt":         verdict(receipt, entry),
		"changed_receipt": verdict(receipt, append(entry, ' ')),
		"problem":         refusal(listing.Id),
	})
	check(err)
	fmt.Println(string(said))
}

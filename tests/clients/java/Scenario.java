import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.licet.ApiClient;
import org.licet.ApiException;
import org.licet.api.*;
import org.licet.model.*;

/** A buyer's program in Java, with the generated client: from a search to a verified receipt. */
public class Scenario {
    static final ApiClient MARKET = new ApiClient();

    static ListingPage search(String words, String cursor, Integer limit) throws ApiException {
        return new ListingsApi(MARKET)
                .listListings(null, cursor, null, limit, null, null, words, null, null, null, null, null);
    }

    static List<String> allListings() throws ApiException {
        List<String> found = new ArrayList<>();
        String cursor = null;
        while (true) {
            ListingPage page = search(null, cursor, 2);
            page.getData().forEach(listing -> found.add(listing.getId()));
            if (!page.getHasMore()) return found;
            cursor = page.getNextCursor();
        }
    }

    static Quote quoteFor(String offer, String use) throws ApiException {
        var wanted = new MakeQuoteRequest().offer(offer).addUsesItem(use).addTerritoriesItem("DE");
        return new QuotesApi(MARKET).createQuote(wanted, null, null);
    }

    /** Accepts a quote. After a lost answer, the same request is sent again: it makes one order. */
    static Order place(Quote quote) throws ApiException {
        var accept = new AcceptBodyRequest().documentSha256(quote.getDocumentSha256())
                .name("Lin Chen").title("Counsel").authority(true);
        var body = new PlaceOrderRequest().quote(quote.getId()).accept(accept);
        String key = UUID.randomUUID().toString();
        for (int attempt = 0; attempt < 3; attempt++) {
            try {
                return new OrdersApi(MARKET).createOrder(body, key, null);
            } catch (ApiException error) {
                if (!(error.getCause() instanceof IOException)) throw error;
            }
        }
        throw new IllegalStateException("no answer");
    }

    /** Waits until somebody paid the order, its license was given, and its entry was signed. */
    static Grant granted(String id) throws ApiException, InterruptedException {
        for (int attempt = 0; attempt < 300; attempt++) {
            Order order = new OrdersApi(MARKET).getOrder(id, null, null);
            if (order.getStatus() == OrderStatusEnum.GRANTED) {
                Grant grant = new GrantsApi(MARKET).getGrant(order.getGrant(), null, null);
                if (grant.getLedger().getIndex() != null) return grant;
            }
            Thread.sleep(100);
        }
        throw new IllegalStateException("not granted");
    }

    static Map<String, Object> refusal(String offer) throws IOException {
        try {
            quoteFor(offer, "\u2603");
        } catch (ApiException error) {
            Problem problem = MARKET.getObjectMapper().readValue(error.getResponseBody(), Problem.class);
            return Map.of("status", problem.getStatus(), "code", problem.getCode(), "param", problem.getParam());
        }
        throw new IllegalStateException("not refused");
    }

    public static void main(String[] arguments) throws Exception {
        MARKET.updateBaseUri(System.getenv("LICET_URL"));
        MARKET.setRequestInterceptor(
                request -> request.header("Authorization", "Bearer " + System.getenv("LICET_KEY")));
        HttpServer inbox = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        inbox.createContext("/", Proofs::take);
        inbox.start();
        var wanted = new CreateWebhookEndpointRequest().addTypesItem("grant.issued")
                .url("http://127.0.0.1:" + inbox.getAddress().getPort() + "/");
        Proofs.secret = new WebhookEndpointsApi(MARKET).createWebhookEndpoint(wanted, null, null).getSecret();

        Listing listing = search("herbarium", null, null).getData().get(0);
        Order order = place(quoteFor(listing.getId(), "pretrain"));
        Grant grant = granted(order.getId());
        Event event = Proofs.TAKEN.poll(30, TimeUnit.SECONDS);
        String receipt = new GrantsApi(MARKET).getGrantReceipt(grant.getId(), null, 5, null);
        byte[] entry = Proofs.entryOf(receipt);
        String recorded = MARKET.getObjectMapper().readTree(entry).get("grant_ref").asText();
        if (!recorded.equals(grant.getLedger().getGrantRef())) {
            throw new IllegalStateException("a receipt of something else");
        }
        System.out.println(MARKET.getObjectMapper().writeValueAsString(Map.of(
                "found", List.of(listing.getId()),
                "paged", allListings(),
                "order", order.getId(),
                "grant", grant.getId(),
                "webhook", event.getData().get("grant"),
                "forged", Proofs.forged,
                "receipt", Proofs.verdict(receipt, entry),
                "changed_receipt", Proofs.verdict(receipt, Arrays.copyOf(entry, entry.length + 1)),
                "problem", refusal(listing.getId()))));
        inbox.stop(0);
    }
}

<?php
// A buyer's program in PHP, with the generated client: from a search to a verified receipt.
declare(strict_types=1);

use Licet\Api\GrantsApi;
use Licet\Api\ListingsApi;
use Licet\Api\OrdersApi;
use Licet\Api\QuotesApi;
use Licet\Api\WebhookEndpointsApi;
use Licet\ApiException;
use Licet\Configuration;
use Licet\Model\AcceptBodyRequest;
use Licet\Model\CreateWebhookEndpointRequest;
use Licet\Model\Event;
use Licet\Model\EventTypeEnum;
use Licet\Model\Grant;
use Licet\Model\MakeQuoteRequest;
use Licet\Model\Order;
use Licet\Model\OrderStatusEnum;
use Licet\Model\PlaceOrderRequest;
use Licet\Model\Problem;
use Licet\Model\Quote;
use Licet\ObjectSerializer;

// What is only a warning to PHP ends this program.
set_error_handler(function (int $level, string $said, string $file, int $line): void {
    throw new ErrorException($said, 0, $level, $file, $line);
});
// Debian's Guzzle, and the classes of the client by their names.
require 'GuzzleHttp/autoload.php';
spl_autoload_register(function (string $name): void {
    if (str_starts_with($name, 'Licet\\')) {
        require getenv('LICET_CLIENT') . '/lib/' . strtr(substr($name, 6), '\\', '/') . '.php';
    }
});

// --- webhooks: a server of our own ---------------------------------------------------------------

/** Takes webhooks, and keeps those that the market signed. */
final class Inbox
{
    public readonly string $url;
    public string $secret = '';
    /** @var list<Event> */
    public array $taken = [];
    public string $forged = 'accepted';
    /** @var resource */
    private $server;

    public function __construct()
    {
        $this->server = stream_socket_server('tcp://127.0.0.1:0');
        $this->url = 'http://' . stream_socket_get_name($this->server, false) . '/';
    }

    /** Takes what has come, or comes within some milliseconds: this program does one thing at a time. */
    public function look(int $milliseconds): void
    {
        $coming = [$this->server];
        $none = null;
        if (stream_select($coming, $none, $none, 0, 1000 * $milliseconds)) {
            $this->take(stream_socket_accept($this->server));
        }
    }

    /** @param resource $connection */
    private function take($connection): void
    {
        $headers = [];
        fgets($connection);
        while (($line = rtrim(fgets($connection))) !== '') {
            [$name, $value] = explode(': ', $line, 2);
            $headers[strtolower($name)] = $value;
        }
        $body = stream_get_contents($connection, (int) $headers['content-length']);
        if (!$this->isSigned($headers, str_replace('grt_', 'grx_', $body))) {
            $this->forged = 'refused';
        }
        $isSigned = $this->isSigned($headers, $body);
        $status = $isSigned ? '200 OK' : '400 Bad Request';
        fwrite($connection, "HTTP/1.1 $status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        fclose($connection);
        if ($isSigned) {
            $this->taken[] = ObjectSerializer::deserialize(json_decode($body), Event::class);
        }
    }

    /** Whether a request of Standard Webhooks is the market's. */
    private function isSigned(array $headers, string $body): bool
    {
        ['webhook-id' => $id, 'webhook-timestamp' => $at] = $headers;
        if (abs(time() - (int) $at) > 300) {
            return false;
        }
        $key = base64_decode(substr($this->secret, strlen('whsec_')), true);
        $own = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$at.$body", $key, true));
        foreach (explode(' ', $headers['webhook-signature']) as $one) {
            if (hash_equals($own, $one)) {
                return true;
            }
        }
        return false;
    }
}

// --- receipts: by RFC 9162 and libsodium's Ed25519 -----------------------------------------------

function entry_of(string $receipt): string
{
    $extra = substr(explode("\n", $receipt)[1], strlen('extra '));
    return json_decode(base64_decode($extra, true), flags: JSON_THROW_ON_ERROR)->entry;
}

/** Whether the log's key signed a checkpoint. */
function is_signed(string $text, string $signatures): bool
{
    [$name, , $key] = explode('+', trim(getenv('LICET_VKEY')), 3);
    foreach (explode("\n", $signatures) as $line) {
        if (str_starts_with($line, "— $name ")) {
            $signature = substr(base64_decode(substr($line, strlen("— $name ")), true), 4);
            $public = substr(base64_decode($key, true), 1);
            if (sodium_crypto_sign_verify_detached($signature, $text, $public)) {
                return true;
            }
        }
    }
    return false;
}

/** Whether a receipt proves that this entry stands in the market's log. */
function verdict(string $receipt, string $entry): string
{
    [$head, $text, $signatures] = explode("\n\n", $receipt, 3);
    if (!is_signed("$text\n", $signatures)) {
        return 'refused';
    }
    $proof = array_slice(explode("\n", $head), 2);
    $node = (int) substr(array_shift($proof), strlen('index '));
    [, $size, $root] = explode("\n", $text);
    $last = (int) $size - 1;
    $found = hash('sha256', "\0$entry", true);
    // RFC 9162, 2.1.3.2.
    foreach ($proof as $line) {
        $step = base64_decode($line, true);
        if ($last === 0) {
            return 'refused';
        }
        if ($node % 2 === 1 || $node === $last) {
            $found = hash('sha256', "\1$step$found", true);
            while ($node % 2 === 0 && $node > 0) {
                $node >>= 1;
                $last >>= 1;
            }
        } else {
            $found = hash('sha256', "\1$found$step", true);
        }
        $node >>= 1;
        $last >>= 1;
    }
    return $last === 0 && $found === base64_decode($root, true) ? 'sound' : 'refused';
}

// --- the story -----------------------------------------------------------------------------------

final class Buyer
{
    private readonly Configuration $market;

    public function __construct(private readonly Inbox $inbox)
    {
        $this->market = (new Configuration())
            ->setHost(getenv('LICET_URL'))
            ->setAccessToken(getenv('LICET_KEY'));
    }

    public function listen(): void
    {
        $wanted = new CreateWebhookEndpointRequest();
        $wanted->setUrl($this->inbox->url)->setTypes([EventTypeEnum::GRANT_ISSUED]);
        $api = new WebhookEndpointsApi(config: $this->market);
        $this->inbox->secret = $api->createWebhookEndpoint($wanted)->getSecret();
    }

    /** @return list<string> */
    public function search(string $words): array
    {
        $page = (new ListingsApi(config: $this->market))->listListings(q: $words);
        return array_map(fn ($each) => $each->getId(), $page->getData());
    }

    /** @return list<string> */
    public function allListings(): array
    {
        $api = new ListingsApi(config: $this->market);
        $found = [];
        $cursor = null;
        do {
            $page = $api->listListings(limit: 2, cursor: $cursor);
            foreach ($page->getData() as $each) {
                $found[] = $each->getId();
            }
            $cursor = $page->getNextCursor();
        } while ($page->getHasMore());
        return $found;
    }

    public function quoteFor(string $offer, string $use): Quote
    {
        $wanted = new MakeQuoteRequest();
        $wanted->setOffer($offer)->setUses([$use])->setTerritories(['DE']);
        return (new QuotesApi(config: $this->market))->createQuote($wanted);
    }

    /** Accepts a quote. After a lost answer, the same request is sent again: it makes one order. */
    public function place(Quote $quote): Order
    {
        $accept = new AcceptBodyRequest();
        $accept->setDocumentSha256($quote->getDocumentSha256());
        $accept->setName('Lin Chen')->setTitle('Counsel')->setAuthority(true);
        $body = new PlaceOrderRequest();
        $body->setQuote($quote->getId())->setAccept($accept);
        $key = bin2hex(random_bytes(16));
        for ($try = 0; $try < 3; $try++) {
            try {
                return (new OrdersApi(config: $this->market))->createOrder($body, $key);
            } catch (ApiException $error) {
                if ($error->getCode() !== 0) {
                    throw $error;
                }
            }
        }
        throw new RuntimeException('no answer');
    }

    /** Waits until somebody paid the order, its license was given, and its entry was signed. */
    public function granted(string $id): Grant
    {
        for ($look = 0; $look < 300; $look++) {
            $order = (new OrdersApi(config: $this->market))->getOrder($id);
            if ($order->getStatus() === OrderStatusEnum::GRANTED) {
                $grant = (new GrantsApi(config: $this->market))->getGrant($order->getGrant());
                if ($grant->getLedger()->getEntryIndex() !== null) {
                    return $grant;
                }
            }
            $this->inbox->look(100);
        }
        throw new RuntimeException('not granted');
    }

    public function receiptOf(Grant $grant): string
    {
        return (new GrantsApi(config: $this->market))->getGrantReceipt($grant->getId(), wait: 5);
    }

    public function refusal(string $offer): array
    {
        try {
            $this->quoteFor($offer, "\u{2603}");
        } catch (ApiException $error) {
            $problem = ObjectSerializer::deserialize($error->getResponseBody(), Problem::class);
            return [
                'status' => $problem->getStatus(),
                'code' => $problem->getCode(),
                'param' => $problem->getParam(),
            ];
        }
        throw new RuntimeException('not refused');
    }
}

$inbox = new Inbox();
$buyer = new Buyer($inbox);
$buyer->listen();
$found = $buyer->search('herbarium');
$order = $buyer->place($buyer->quoteFor($found[0], 'pretrain'));
$grant = $buyer->granted($order->getId());
for ($look = 0; $look < 300 && $inbox->taken === []; $look++) {
    $inbox->look(100);
}
$receipt = $buyer->receiptOf($grant);
$entry = entry_of($receipt);
if (json_decode($entry)->grant_ref !== $grant->getLedger()->getGrantRef()) {
    throw new RuntimeException('a receipt of something else');
}
echo json_encode([
    'found' => $found,
    'paged' => $buyer->allListings(),
    'order' => $order->getId(),
    'grant' => $grant->getId(),
    'webhook' => $inbox->taken[0]->getData()['grant'],
    'forged' => $inbox->forged,
    'receipt' => verdict($receipt, $entry),
    'changed_receipt' => verdict($receipt, "$entry "),
    'problem' => $buyer->refusal($found[0]),
], JSON_THROW_ON_ERROR), "\n";

# frozen_string_literal: true

# A buyer's program in Ruby, with the generated client: from a search to a verified receipt.
require "base64"
require "digest"
require "json"
require "openssl"
require "securerandom"
require "socket"
require "uri"
require "licet"

VKEY = ENV.fetch("LICET_VKEY").strip
SETTINGS = Licet::Configuration.new do |settings|
  address = URI(ENV.fetch("LICET_URL"))
  settings.scheme = address.scheme
  settings.host = "#{address.host}:#{address.port}"
  settings.access_token = ENV.fetch("LICET_KEY")
end
MARKET = Licet::ApiClient.new(SETTINGS)
ORDERS = Licet::OrdersApi.new(MARKET)

# --- webhooks: a server of our own ---------------------------------------------------------------

# Takes webhooks, and keeps those that the market signed.
class Inbox
  attr_accessor :secret
  attr_reader :taken, :forged

  def initialize
    @taken = Queue.new
    @forged = "accepted"
    @server = TCPServer.new("127.0.0.1", 0)
    Thread.new { loop { take(@server.accept) } }
  end

  def url
    "http://127.0.0.1:#{@server.addr[1]}/"
  end

  private

  def take(connection)
    headers = {}
    connection.gets
    while (line = connection.gets.chomp) != ""
      name, value = line.split(": ", 2)
      headers[name.downcase] = value
    end
    body = connection.read(headers.fetch("content-length").to_i)
    @forged = "refused" unless signed?(headers, body.gsub("grt_", "grx_"))
    is_signed = signed?(headers, body)
    status = is_signed ? "200 OK" : "400 Bad Request"
    connection.write("HTTP/1.1 #{status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connection.close
    @taken << MARKET.convert_to_type(JSON.parse(body, symbolize_names: true), "Event") if is_signed
  end

  # Verifies a request of Standard Webhooks.
  def signed?(headers, body)
    id, at = headers.values_at("webhook-id", "webhook-timestamp")
    return false if (Time.now.to_i - at.to_i).abs > 300

    key = Base64.strict_decode64(secret.delete_prefix("whsec_"))
    own = "v1,#{Base64.strict_encode64(OpenSSL::HMAC.digest("SHA256", key, "#{id}.#{at}.#{body}"))}"
    headers.fetch("webhook-signature").split.any? { |one| OpenSSL.secure_compare(one, own) }
  end
end

# --- receipts: by RFC 9162 and OpenSSL's Ed25519 -------------------------------------------------

def entry_of(receipt)
  JSON.parse(Base64.decode64(receipt.lines[1].delete_prefix("extra ")))["entry"]
end

# Whether the log's key signed a checkpoint.
def signed?(text, signatures)
  name, _id, key = VKEY.split("+", 3)
  der = ["302a300506032b6570032100"].pack("H*") + Base64.decode64(key)[1..]
  signatures.lines.any? do |line|
    next unless line.start_with?("— #{name} ")

    signature = Base64.decode64(line.split.last)[4..]
    OpenSSL::PKey.read(der).verify(nil, signature, text)
  end
end

def hash_of(prefix, *parts)
  Digest::SHA256.digest(prefix.b + parts.map(&:b).join)
end

# Whether a receipt proves that this entry stands in the market's log.
def verdict(receipt, entry)
  head, text, signatures = receipt.split("\n\n", 3)
  return "refused" unless signed?("#{text}\n", signatures)

  _header, _extra, index, *proof = head.lines(chomp: true)
  _origin, size, root = text.lines(chomp: true)
  node = index.delete_prefix("index ").to_i
  last = size.to_i - 1
  found = hash_of("\0", entry)
  # RFC 9162, 2.1.3.2.
  proof.map { |line| Base64.decode64(line) }.each do |step|
    return "refused" if last.zero?

    if node.odd? || node == last
      found = hash_of("\1", step, found)
      node, last = node >> 1, last >> 1 while node.even? && node.positive?
    else
      found = hash_of("\1", found, step)
    end
    node, last = node >> 1, last >> 1
  end
  last.zero? && found == Base64.decode64(root) ? "sound" : "refused"
end

# --- the story -----------------------------------------------------------------------------------

def search(**options)
  Licet::ListingsApi.new(MARKET).list_listings(options)
end

def all_listings
  found = []
  page = search(limit: 2)
  loop do
    found += page.data.map(&:id)
    return found unless page.has_more

    page = search(limit: 2, cursor: page.next_cursor)
  end
end

def quote_for(offer, use)
  wanted = Licet::MakeQuoteRequest.new(offer: offer, uses: [use], territories: ["DE"])
  Licet::QuotesApi.new(MARKET).create_quote(wanted)
end

# Accepts a quote. After a lost answer, the same request is sent again: it makes one order.
def place(quote)
  accept = Licet::AcceptBodyRequest.new(
    document_sha256: quote.document_sha256, name: "Lin Chen", title: "Counsel", authority: true
  )
  body = Licet::PlaceOrderRequest.new(quote: quote.id, accept: accept)
  key = SecureRandom.uuid
  3.times do
    return ORDERS.create_order(body, idempotency_key: key)
  rescue Licet::ApiError => e
    raise unless e.code.to_i.zero?
  end
  abort "no answer"
end

# Waits until somebody paid the order, its license was given, and its entry was signed.
def granted(id)
  300.times do
    order = ORDERS.get_order(id)
    if order.status == Licet::OrderStatusEnum::GRANTED
      grant = Licet::GrantsApi.new(MARKET).get_grant(order.grant)
      return grant if grant.ledger.index
    end
    sleep 0.1
  end
  abort "not granted"
end

def refusal(offer)
  quote_for(offer, "\u2603")
  abort "not refused"
rescue Licet::ApiError => e
  problem = MARKET.convert_to_type(JSON.parse(e.response_body, symbolize_names: true), "Problem")
  { status: problem.status, code: problem.code, param: problem.param }
end

inbox = Inbox.new
wanted = Licet::CreateWebhookEndpointRequest.new(url: inbox.url, types: ["grant.issued"])
inbox.secret = Licet::WebhookEndpointsApi.new(MARKET).create_webhook_endpoint(wanted).secret

found = search(q: "herbarium").data
order = place(quote_for(found.first.id, "pretrain"))
grant = granted(order.id)
event = inbox.taken.pop
receipt = Licet::GrantsApi.new(MARKET).get_grant_receipt(grant.id, wait: 5).force_encoding("UTF-8")
entry = entry_of(receipt)
abort "a receipt of something else" if JSON.parse(entry)["grant_ref"] != grant.ledger.grant_ref
puts JSON.generate(
  found: found.map(&:id), paged: all_listings, order: order.id, grant: grant.id,
  webhook: event.data["grant"], forged: inbox.forged,
  receipt: verdict(receipt, entry), changed_receipt: verdict(receipt, "#{entry} "),
  problem: refusal(found.first.id)
)

-- What wrk has counted, as one line of JSON: times in microseconds. "cut": connections that ended before wrk was
-- done with them; an answer of HTTP/1.0 ends each.
function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '{"requests": %d, "us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, "unanswered": %d, "cut": %d, "not_2xx": %d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
        e.connect + e.timeout, e.read + e.write, e.status))
end

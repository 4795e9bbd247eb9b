package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	connectTimeout = 2 * time.Second
	cutShort       = "01000" // a warning: a wait for synchronous replication was cut short
)

var errGaveUp = errors.New("the client has given up")

// session is one connection to one server.
type session struct {
	conn    *pgconn.PgConn
	server  string
	warned  bool // of the statement under way
	timeout time.Duration
}

// connect returns a session with a server, whatever it is. Password and user come from the environment, as
// with libpq.
func connect(server string, timeout time.Duration) (*session, error) {
	s := &session{server: server, timeout: timeout}
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return nil, err
	}
	config, err := pgconn.ParseConfig(fmt.Sprintf(
		"host=%s port=%s user=postgres dbname=postgres sslmode=disable application_name=judge", host, port))
	if err != nil {
		return nil, err
	}
	config.ConnectTimeout = connectTimeout
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		s.warned = s.warned || n.Code == cutShort
	}
	// A client that gives up is gone: no second connection asks the server to cancel what may be committed.
	dialed := false
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dialed {
			return nil, errGaveUp
		}
		dialed = true
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	s.conn, err = pgconn.ConnectConfig(ctx, config)
	return s, err
}

func (s *session) close() {
	s.conn.Conn().Close()
}

// query runs one statement as one transaction, by the simple protocol: its end is told only when the commit
// is through. It returns the rows' first columns and the number of rows that the statement met.
func (s *session) query(sql string) ([]string, int64, error) {
	s.warned = false
	if err := s.conn.Conn().SetDeadline(time.Now().Add(s.timeout)); err != nil {
		return nil, 0, err
	}
	results, err := s.conn.Exec(context.Background(), sql).ReadAll()
	if err != nil {
		return nil, 0, err
	}
	var rows []string
	var met int64
	for _, r := range results {
		met += r.CommandTag.RowsAffected()
		for _, row := range r.Rows {
			rows = append(rows, string(row[0]))
		}
	}
	return rows, met, nil
}

// claims tells whether the server says that it is a primary.
func (s *session) claims() (bool, error) {
	rows, _, err := s.query("SELECT pg_is_in_recovery()")
	return err == nil && len(rows) == 1 && rows[0] == "f", err
}

// perform executes o and fills in what came of it. False: the session is of no more use.
func (s *session) perform(h *history, o *operation) bool {
	m, row, err := rowOf(o.Key)
	if err != nil {
		panic(err)
	}
	sql := fmt.Sprintf(m.get, row)
	if o.Op != opRead {
		sql = fmt.Sprintf(m.set, o.Value, row)
	}
	o.Server = s.server
	o.Call = h.now()
	rows, met, err := s.query(sql)
	o.Return = h.now()
	o.Outcome = outcomeOf(err, s.warned)
	if err != nil {
		o.Error = err.Error()
		return o.Outcome == outcomeFail
	}
	o.Missing = met == 0
	if o.Op == opRead && met == 1 {
		o.Result = numbers(rows[0])
	}
	return true
}

// outcomeOf: only an ERROR means that the transaction was rolled back. A FATAL says nothing about a commit
// that may have been waiting for its standby, and neither does silence.
func outcomeOf(err error, warned bool) string {
	var answer *pgconn.PgError
	switch {
	case err == nil && !warned:
		return outcomeOK
	case errors.As(err, &answer) && answer.SeverityUnlocalized == "ERROR":
		return outcomeFail
	}
	return outcomeUnknown
}

func rowOf(key string) (*model, int, error) {
	m, err := modelOf(key)
	if err != nil {
		return nil, 0, err
	}
	row, err := strconv.Atoi(strings.TrimPrefix(key, m.name+"/"))
	return m, row, err
}

// numbers reads an array of integers as the server prints it: {1,2}.
func numbers(text string) []int64 {
	out := []int64{}
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == '{' || r == '}' || r == ',' }) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			panic(err)
		}
		out = append(out, n)
	}
	return out
}

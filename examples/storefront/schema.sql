-- The shop's own tables. Nothing here is for Freshet: it captures what a shop has anyway.
CREATE TABLE IF NOT EXISTS product_catalog (
  product_id bigint PRIMARY KEY,
  category   text NOT NULL,
  price      numeric(10, 2) NOT NULL
);

CREATE TABLE IF NOT EXISTS user_activity (
  activity_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id     bigint NOT NULL,
  product_id  bigint,
  event_type  varchar(20) NOT NULL,
  amount      numeric(10, 2),
  occurred_at timestamptz NOT NULL
);

-- For the comparison at the end, which asks for one user's or product's recent activity.
CREATE INDEX IF NOT EXISTS user_activity_user ON user_activity (user_id, occurred_at);
CREATE INDEX IF NOT EXISTS user_activity_product ON user_activity (product_id, occurred_at);

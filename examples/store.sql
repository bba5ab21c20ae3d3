CREATE SCHEMA sales;
CREATE TABLE sales.products (
    sku         text PRIMARY KEY,
    title       text NOT NULL,
    description text
);
CREATE TABLE sales.reviews (
    product text NOT NULL REFERENCES sales.products,
    author  text NOT NULL,
    body    text NOT NULL,
    PRIMARY KEY (product, author)
);
INSERT INTO sales.products VALUES
    ('shoe-1', 'Trail running shoes', 'Light, with a grippy sole for mud and rock.'),
    ('coat-1', 'Rain jacket', 'Keeps water out on long walks; packs into its own pocket.'),
    ('lamp-1', 'Reading lamp', 'Warm light for books in bed.');
INSERT INTO sales.reviews VALUES
    ('shoe-1', 'Ada', 'No slipping on wet rock, and no blisters.'),
    ('coat-1', 'Grace', 'A day of rain, and my shirt stayed dry.'),
    ('lamp-1', 'Alan', 'Bright enough to read by, dim enough to sleep beside.');
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'clerk') THEN
        CREATE ROLE clerk;
    END IF;
END
$$;

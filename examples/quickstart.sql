CREATE TABLE products (
    id          bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    title       text NOT NULL,
    description text
);
INSERT INTO products (title, description) VALUES
    ('Trail running shoes', 'Light, with a grippy sole for mud and rock.'),
    ('Rain jacket', 'Keeps water out on long walks; packs into its own pocket.'),
    ('Espresso machine', 'Fifteen bar pump and a steam wand for milk.'),
    ('Noise-cancelling headphones', 'Quiet on planes, thirty hours of battery.'),
    ('Garden hose', 'Twenty metres, does not kink.'),
    ('Reading lamp', 'Warm light for books in bed.'),
    ('Camping stove', 'Boils half a litre in three minutes.'),
    ('Mountain tent', NULL);

CREATE TABLE articles (
    id      integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    heading text NOT NULL,
    body    text NOT NULL
);
INSERT INTO articles (heading, body) VALUES
    ('Returns', 'Send it back within thirty days; we pay for the parcel.'),
    ('Delivery', 'Two working days, or the next one for what is in stock.'),
    ('Payment', 'By card, by invoice, or in the shop.'),
    ('Repairs', 'We mend what we sell, for as long as there are parts.');

-- One row for a message, one for each who has it; files by link.
create table zerver_recipient (id serial primary key, type_id integer not null);
create table zerver_message (id serial primary key, sender_id integer not null, recipient_id integer not null references zerver_recipient deferrable initially deferred, realm_id integer not null, content text not null, date_sent timestamptz not null);
create index on zerver_message (realm_id, recipient_id, id);
create table zerver_usermessage (id bigserial primary key, user_profile_id integer not null, message_id integer not null references zerver_message deferrable initially deferred, unique (user_profile_id, message_id));
create index on zerver_usermessage (message_id);
create table zerver_archivedmessage (id serial primary key, recipient_id integer not null, realm_id integer not null, content text not null);
create table zerver_reaction (id serial primary key, message_id integer not null references zerver_message deferrable initially deferred, user_profile_id integer not null);
create index on zerver_reaction (message_id);
create table zerver_onboardingusermessage (id serial primary key, message_id integer not null references zerver_message deferrable initially deferred);
create index on zerver_onboardingusermessage (message_id);
create table zerver_attachment (id serial primary key, path_id text not null unique);
create table zerver_attachment_messages (id serial primary key, attachment_id integer not null references zerver_attachment, message_id integer not null references zerver_message deferrable initially deferred);
create index on zerver_attachment_messages (message_id);
create table zerver_subscription (id serial primary key, user_profile_id integer not null, recipient_id integer not null, unique (user_profile_id, recipient_id));

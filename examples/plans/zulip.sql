-- Tables of the shape of Zulip's, with what three users have of two group chats and a channel: for the tests.
create table zerver_realm (id serial primary key, string_id varchar(40) not null unique);
create table zerver_recipient (id serial primary key, type_id integer not null, type smallint not null, unique (type, type_id));
create table zerver_message (
  id serial primary key, sender_id integer not null, recipient_id integer not null references zerver_recipient (id) deferrable initially deferred,
  realm_id integer not null references zerver_realm (id) deferrable initially deferred, type smallint not null default 1, subject varchar(60) not null, content text not null,
  date_sent timestamptz not null, is_channel_message boolean not null default true, search_tsvector tsvector);
create index zerver_message_realm_recipient_id on zerver_message (realm_id, recipient_id, id);
create index zerver_message_realm_recipient_date_sent on zerver_message (realm_id, recipient_id, date_sent);
create table zerver_usermessage (
  id bigserial primary key, user_profile_id integer not null, message_id integer not null references zerver_message (id) deferrable initially deferred,
  flags bigint not null default 0, unique (user_profile_id, message_id));
create index on zerver_usermessage (message_id);
create table zerver_onboardingusermessage (
  id serial primary key, realm_id integer not null, message_id integer not null references zerver_message (id) deferrable initially deferred, flags bigint not null default 0);
create index on zerver_onboardingusermessage (message_id);
create table zerver_archivedmessage (
  id serial primary key, recipient_id integer not null, realm_id integer not null, content text not null, date_sent timestamptz not null, archive_transaction_id integer not null);
create table zerver_reaction (
  id serial primary key, user_profile_id integer not null, message_id integer not null references zerver_message (id) deferrable initially deferred,
  emoji_name text not null, reaction_type varchar(30) not null, emoji_code text not null);
create index on zerver_reaction (message_id);
create table zerver_submessage (
  id serial primary key, message_id integer not null references zerver_message (id) deferrable initially deferred, msg_type text not null, content text not null);
create index on zerver_submessage (message_id);
create table zerver_missedmessageemailaddress (
  id serial primary key, message_id integer not null references zerver_message (id) deferrable initially deferred, user_profile_id integer not null,
  email_token varchar(34) not null unique);
create index on zerver_missedmessageemailaddress (message_id);
create table zerver_scheduledmessagenotificationemail (
  id serial primary key, message_id integer not null references zerver_message (id) deferrable initially deferred, user_profile_id integer not null, trigger text not null);
create index on zerver_scheduledmessagenotificationemail (message_id);
create table zerver_scheduledmessage (
  id serial primary key, sender_id integer not null, content text not null, delivered boolean not null default false,
  delivered_message_id integer references zerver_message (id) deferrable initially deferred);
create index on zerver_scheduledmessage (delivered_message_id);
create table zerver_attachment (id serial primary key, file_name text not null, path_id text not null unique, owner_id integer not null, size integer not null);
create table zerver_attachment_messages (
  id serial primary key, attachment_id integer not null references zerver_attachment (id) deferrable initially deferred,
  message_id integer not null references zerver_message (id) deferrable initially deferred, unique (attachment_id, message_id));
create index on zerver_attachment_messages (message_id);
create table zerver_attachment_scheduled_messages (
  id serial primary key, attachment_id integer not null references zerver_attachment (id) deferrable initially deferred,
  scheduledmessage_id integer not null references zerver_scheduledmessage (id) deferrable initially deferred, unique (attachment_id, scheduledmessage_id));
create index on zerver_attachment_scheduled_messages (scheduledmessage_id);
create table zerver_subscription (
  id serial primary key, user_profile_id integer not null, recipient_id integer not null references zerver_recipient (id) deferrable initially deferred,
  active boolean not null default true, unique (user_profile_id, recipient_id));

insert into zerver_realm (string_id) values ('demo'), ('other');
insert into zerver_recipient (type_id, type) values (1, 3), (2, 3), (3, 2);
insert into zerver_subscription (user_profile_id, recipient_id) select u, r from generate_series(1, 3) u, generate_series(1, 3) r;
insert into zerver_message (sender_id, recipient_id, realm_id, subject, content, date_sent)
select 1 + i % 2, r.id, realm.id, E'\x07', 'text ' || i, now() - (40 - i) * interval '1 minute' from zerver_realm realm, zerver_recipient r, generate_series(1, 12) i order by i, realm.id, r.id;
insert into zerver_usermessage (user_profile_id, message_id, flags)
select s.user_profile_id, m.id, 1 from zerver_message m join zerver_subscription s using (recipient_id) order by m.id, 1;
insert into zerver_onboardingusermessage (realm_id, message_id) select realm_id, min(id) from zerver_message where recipient_id = 3 group by 1;
insert into zerver_archivedmessage (recipient_id, realm_id, content, date_sent, archive_transaction_id) select recipient_id, realm_id, content, date_sent, 1 from zerver_message where id % 7 = 0;
insert into zerver_reaction (user_profile_id, message_id, emoji_name, reaction_type, emoji_code) select u, id, 'smile', 'unicode_emoji', '1f642' from zerver_message, generate_series(1, 2) u where id % 3 = 0;
insert into zerver_submessage (message_id, msg_type, content) select id, 'widget', '{}' from zerver_message where id % 5 = 0;
insert into zerver_missedmessageemailaddress (message_id, user_profile_id, email_token) select id, 1, 'mm' || id from zerver_message where id % 5 = 1;
insert into zerver_scheduledmessagenotificationemail (message_id, user_profile_id, trigger) select id, 2, 'direct_message' from zerver_message where id % 5 = 2;
insert into zerver_scheduledmessage (sender_id, content, delivered, delivered_message_id) select sender_id, content, true, id from zerver_message where id % 4 = 0;
insert into zerver_scheduledmessage (sender_id, content) values (1, 'not yet');
insert into zerver_attachment (file_name, path_id, owner_id, size) select case when i < 8 then 'a.png' else 'unclaimed' end, 'p' || i, 1, 10
from generate_series(1, 8) i;
insert into zerver_attachment_messages (attachment_id, message_id) select 1 + id % 7, id from zerver_message where id % 4 in (0, 1);
insert into zerver_attachment_scheduled_messages (attachment_id, scheduledmessage_id)
select 1 + delivered_message_id % 7, id from zerver_scheduledmessage where delivered union all select 1, id from zerver_scheduledmessage where not delivered;

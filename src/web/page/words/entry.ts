/** Texts: getting in. */
export const entry = {
  'login.title': ['Anmelden', 'Log in'],
  'login.promise': [
    'Bilder werden nur hier, in diesem Browser, geöffnet – nur von den Personen, die benannt sind.',
    'Pictures open only here, in this browser – and only for the people who were named.',
  ],
  'login.name': ['Anmeldename', 'Login name'],
  'login.password': ['Passwort', 'Password'],
  'login.show': ['Passwort zeigen', 'Show password'],
  'login.go': ['Anmelden', 'Log in'],
  'login.known': ['Auf diesem Gerät bekannt', 'Known on this device'],
  'login.new': ['Neues Gerät? Mit gedrucktem Code anmelden', 'New device? Log in with the printed code'],
  'login.invited': [
    'Eingeladen? Den Link aus der Einladung in diesem Browser öffnen.',
    'Invited? Open the link of the invitation in this browser.',
  ],
  'login.unknown': [
    'Diesen Namen kennt dieser Browser nicht. Hier hilft nur der gedruckte Code („Neues Gerät“).',
    'This browser does not know that name. Here only the printed code helps (“New device”).',
  ],
  'login.missing': ['Bitte ausfüllen', 'Please fill in'],
  'login.working': [
    'Schlüssel wird geöffnet … das dauert einige Sekunden',
    'Opening the key … this takes a few seconds',
  ],
  'login.starting': ['Peri startet …', 'Peri is starting …'],
  'login.failed': ['Die Seite konnte nicht starten', 'The page could not start'],
  'login.certificate': [
    'Warnt der Browser vor der Adresse, nicht weiterklicken: Das Zertifikat stellt Ihr Betrieb bereit (Handbuch „Einrichten“).',
    'If the browser warns about the address, do not click through: your organisation provides the certificate (manual, “Setting up”).',
  ],

  'locked.title': ['Die Sitzung wurde gesperrt', 'The session was locked'],
  'locked.text': [
    'Jemand hat eine Kopie einer Anfrage dieser Sitzung geschickt. Schlüssel und Bilder sind hier gelöscht, sonst ist nichts geschehen. Bitte neu anmelden und der Verwaltung Bescheid geben; im Protokoll steht ein Eintrag.',
    'Somebody sent a copy of a request of this session. Keys and pictures are wiped here; nothing else happened. Please log in again and tell your administrator; there is an entry in the ledger.',
  ],
  'ended.title': ['Die Sitzung ist zu Ende', 'The session has ended'],
  'ended.text': [
    'Schlüssel und Bilder sind in diesem Browser gelöscht.',
    'Keys and pictures are wiped in this browser.',
  ],
  'return.text': [
    'Nach der Anmeldung geht es an derselben Stelle weiter.',
    'After logging in you go on where you were.',
  ],

  'recover.title': ['Neues Gerät oder Passwort verloren', 'New device or lost password'],
  'recover.text': [
    'Der gedruckte Code öffnet das Konto einmal. Danach gibt es ein neues Blatt.',
    'The printed code opens the account once. You get a new sheet afterwards.',
  ],
  'recover.code': ['Gedruckter Code', 'Printed code'],
  'recover.code.hint': ['28 Zeichen vom Wiederherstellungsblatt', '28 characters from the recovery sheet'],
  'recover.go': ['Konto öffnen', 'Open the account'],

  'password.new': ['Neues Passwort', 'New password'],
  'password.twice': ['Neues Passwort wiederholen', 'Repeat the new password'],
  'password.hint': [
    'Am besten vier oder mehr zufällige Wörter; mindestens 12 Zeichen.',
    'Best: four or more random words; at least 12 characters.',
  ],
  'password.differ': ['Die beiden Passwörter sind verschieden', 'The two passwords differ'],
  'password.short': ['Noch {n} Zeichen bis zur Mindestlänge', '{n} more characters to the minimum'],
  'password.0': ['Stärke: zu schwach', 'Strength: too weak'],
  'password.1': ['Stärke: schwach', 'Strength: weak'],
  'password.2': ['Stärke: gut', 'Strength: good'],
  'password.3': ['Stärke: sehr gut', 'Strength: very good'],
  'password.changed': ['Das Passwort ist geändert', 'The password is changed'],
  'password.change': ['Passwort ändern', 'Change password'],

  'enrol.title': ['Willkommen bei Peri', 'Welcome to Peri'],
  'enrol.text': [
    'Diese Einladung richtet Ihren Schlüssel ein. Er entsteht in diesem Browser und verlässt ihn nie unverschlüsselt.',
    'This invitation sets up your key. It is made in this browser and never leaves it unencrypted.',
  ],
  'enrol.name.hint': [
    'Frei wählbar, zum Beispiel „nachtwache“; kein Klarname nötig.',
    'Your choice, for instance “nightwatch”; no real name needed.',
  ],
  'enrol.go': ['Schlüssel einrichten', 'Set up the key'],
  'enrol.steps': ['Schritt {n} von 3', 'Step {n} of 3'],
  'enrol.working': ['Schlüssel wird gemacht …', 'Making the key …'],
  'enrol.compare': ['Wörter vergleichen', 'Compare the words'],
  'enrol.compare.text': [
    'Lesen Sie diese zehn Wörter der Person vor, die Sie eingeladen hat – am Telefon oder persönlich, nicht per E-Mail. Stimmen sie, trägt sie den Schlüssel ein.',
    'Read these ten words to the person who invited you – by phone or in person, not by e-mail. If they agree, your key is entered.',
  ],
  'enrol.compared': ['Ich habe die Wörter vorgelesen', 'I have read the words aloud'],
  'enrol.later': ['Später vorlesen', 'Read them later'],
  'enrol.inside': [
    'In diesem Browser ist {name} angemeldet. Zum Annehmen der Einladung bitte zuerst abmelden.',
    '{name} is logged in in this browser. To accept the invitation, please log out first.',
  ],
  'enrol.ready': ['Ihr Schlüssel ist eingerichtet', 'Your key is set up'],
  'enrol.ready.text': [
    'Sobald er eingetragen ist, melden Sie sich hier mit Namen und Passwort an.',
    'Once it is entered, log in here with name and password.',
  ],
  'enrol.bad': ['Dieser Link ist unvollständig', 'This link is incomplete'],
  'enrol.bad.text': [
    'Hinter dem # stehen 48 Zeichen. Bitte den ganzen Link aus der Einladung kopieren.',
    '48 characters stand behind the #. Please copy the whole link of the invitation.',
  ],

  'sheet.title': ['Wiederherstellungsblatt', 'Recovery sheet'],
  'sheet.text': [
    'Dieser Code wird nur jetzt gezeigt. Drucken oder abschreiben und sicher aufbewahren, getrennt von Ihren Geräten: Er ist der einzige Weg zurück auf einem neuen Gerät oder ohne Passwort.',
    'This code is shown only now. Print or copy it and keep it safe, apart from your devices: it is the only way back on a new device or without the password.',
  ],
  'sheet.code': ['Code', 'Code'],
  'sheet.name': ['Anmeldename', 'Login name'],
  'sheet.made': ['Erstellt', 'Made'],
  'sheet.address': ['Adresse', 'Address'],
  'sheet.warning': [
    'Wer dieses Blatt und den Anmeldenamen hat, hat den Schlüssel. Nicht fotografieren, nicht versenden.',
    'Whoever has this sheet and the login name has the key. Do not photograph, do not send.',
  ],
  'sheet.kept': ['Das Blatt ist gedruckt oder abgeschrieben', 'The sheet is printed or copied'],
  'sheet.check': [
    'Zur Kontrolle: die letzten vier Zeichen des Codes',
    'To check: the last four characters of the code',
  ],
  'sheet.check.wrong': ['Diese Zeichen stehen nicht am Ende des Codes', 'The code does not end with these characters'],
  'sheet.go': ['Weiter', 'Continue'],
  'sheet.new.text': [
    'Ein neues Blatt macht das alte ungültig. Bitte zur Bestätigung das Passwort eingeben.',
    'A new sheet makes the old one void. Please confirm with your password.',
  ],
} as const

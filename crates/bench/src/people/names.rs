//! Names of the generated people, by the language they come from, most common first.
//!
//! Names written in another script carry their spelling in Latin letters, from which e-mail addresses are made.
//! To add a language: a list here, and the countries that speak it in `places.rs`.

/// First and last names of one language. Latin spellings left empty are worked out by folding.
#[derive(Debug)]
pub(super) struct Names {
    /// `(as written, in Latin letters)`.
    pub(super) first: &'static [(&'static str, &'static str)],
    pub(super) last: &'static [(&'static str, &'static str)],
    /// Whether the family name comes first, and with nothing between: 王伟.
    pub(super) family_first: bool,
}

/// Names in Latin letters: the spelling for e-mails is folded from them.
macro_rules! latin {
    ($($name:literal)*) => { &[$(($name, "")),*] };
}

/// Names in another script, each with its Latin spelling.
macro_rules! spelled {
    ($($name:literal $latin:literal)*) => { &[$(($name, $latin)),*] };
}

pub(super) static ENGLISH: Names = Names {
    first: latin!["James" "Mary" "John" "Olivia" "William" "Emma" "Michael" "Sarah" "David" "Emily" "Thomas" "Grace" "Daniel" "Jessica" "George" "Charlotte" "Samuel" "Hannah" "Robert" "Sophie" "Joseph" "Laura" "Benjamin" "Rebecca" "Nathan" "Ada" "Chloë" "Zoë" "Maeve" "Declan" "Siân" "Rhys" "Oscar" "Winifred" "Percival" "Beatrix" "Mary-Jane" "Renée"],
    last: latin!["Smith" "Johnson" "Williams" "Brown" "Jones" "Taylor" "Davis" "Miller" "Wilson" "Evans" "Thomas" "Roberts" "Walker" "Wright" "Thompson" "White" "Hughes" "Edwards" "Green" "Hall" "Wood" "Harris" "Lewis" "Clarke" "O'Brien" "O'Connor" "MacDonald" "McCarthy" "Fitzgerald" "Lovelace" "Hopper" "Turing" "Smith-Jones" "Brontë" "Featherstonehaugh" "Cholmondeley"],
    family_first: false,
};

pub(super) static SPANISH: Names = Names {
    first: latin!["María" "José" "Juan" "Ana" "Carlos" "Carmen" "Luis" "Lucía" "Javier" "Sofía" "Miguel" "Isabel" "Ángel" "Pilar" "Andrés" "Begoña" "Raúl" "Inés" "Íñigo" "Concepción" "Ramón" "Martín" "Nuria" "Óscar" "Jesús" "Rocío"],
    last: latin!["García" "Martínez" "López" "González" "Hernández" "Pérez" "Rodríguez" "Sánchez" "Ramírez" "Torres" "Flores" "Gómez" "Díaz" "Muñoz" "Núñez" "Ibáñez" "Peña" "Castaño" "Zúñiga" "Echeverría" "Güell" "De la Cruz" "Ordóñez" "Vázquez"],
    family_first: false,
};

pub(super) static PORTUGUESE: Names = Names {
    first: latin!["Maria" "João" "Ana" "António" "Pedro" "Beatriz" "Lucas" "Júlia" "Gabriel" "Letícia" "Rafael" "Mariana" "Tiago" "Inês" "Gonçalo" "Conceição" "Luís" "Patrícia" "César" "Antônia" "Thaís" "Caetano" "Vitória" "Simão"],
    last: latin!["Silva" "Santos" "Oliveira" "Souza" "Pereira" "Costa" "Ferreira" "Rodrigues" "Almeida" "Gonçalves" "Araújo" "Magalhães" "Simões" "Guimarães" "Conceição" "Assunção" "Brandão" "Falcão" "Leitão" "Lourenço" "Queirós" "Sá" "Da Cunha" "Dos Reis"],
    family_first: false,
};

pub(super) static FRENCH: Names = Names {
    first: latin!["Marie" "Jean" "Camille" "Pierre" "Léa" "Nicolas" "Chloé" "Julien" "Élodie" "François" "Zoé" "Théo" "Hélène" "Jérôme" "Aurélie" "Benoît" "Gaëlle" "Noël" "Anaïs" "Raphaël" "Maëlys" "Loïc" "Sébastien" "Françoise" "Jean-Baptiste"],
    last: latin!["Martin" "Bernard" "Dubois" "Durand" "Moreau" "Lefèvre" "Leroy" "Roux" "Girard" "Lefebvre" "Mercier" "Gauthier" "Lemaître" "Béranger" "Benoît" "Prévost" "Hébert" "Étienne" "D'Arcy" "De La Fontaine" "Châtelain" "Guérin" "Müller" "Sœur"],
    family_first: false,
};

pub(super) static GERMAN: Names = Names {
    first: latin!["Anna" "Lukas" "Maximilian" "Sophie" "Paul" "Lena" "Jürgen" "Björn" "Käthe" "Jörg" "Günter" "Hannelore" "Sönke" "Ännchen" "Friedrich" "Ingrid" "Götz" "Ulrike" "Wolfgang" "Bärbel" "Hans-Peter" "Anneliese" "Sören" "Dörte"],
    last: latin!["Müller" "Schmidt" "Schneider" "Fischer" "Weber" "Meyer" "Wagner" "Becker" "Schulz" "Hoffmann" "Schäfer" "Köhler" "Weiß" "Krüger" "Jäger" "Groß" "Böhm" "Strauß" "Vogt" "Von Stein" "Hößl" "Süßmuth" "Röntgen" "Kästner"],
    family_first: false,
};

pub(super) static ITALIAN: Names = Names {
    first: latin!["Giulia" "Francesco" "Alessandro" "Sofia" "Lorenzo" "Martina" "Matteo" "Chiara" "Andrea" "Nicolò" "Noè" "Giosuè" "Federica" "Vincenzo" "Rosaria" "Niccolò" "Immacolata" "Salvatore"],
    last: latin!["Rossi" "Russo" "Ferrari" "Esposito" "Bianchi" "Romano" "Colombo" "Ricci" "Marino" "Greco" "Bruno" "Gallo" "Conti" "De Luca" "D'Angelo" "Dell'Acqua" "Nicolò" "Cantù" "Forlì" "Lo Presti"],
    family_first: false,
};

pub(super) static POLISH: Names = Names {
    first: latin!["Anna" "Piotr" "Katarzyna" "Łukasz" "Małgorzata" "Paweł" "Agnieszka" "Michał" "Żaneta" "Świętosława" "Grażyna" "Stanisław" "Bożena" "Wojciech" "Józef" "Kinga" "Zdzisław" "Róża"],
    last: latin!["Nowak" "Kowalski" "Wiśniewski" "Wójcik" "Kowalczyk" "Kamiński" "Lewandowski" "Zieliński" "Szymański" "Woźniak" "Dąbrowski" "Kozłowski" "Jabłoński" "Król" "Wróbel" "Gołąb" "Żak" "Święcicki" "Brzęczyszczykiewicz" "Ćwik"],
    family_first: false,
};

pub(super) static CZECH: Names = Names {
    first: latin!["Jan" "Jana" "Petr" "Eva" "Tomáš" "Lucie" "Jiří" "Kateřina" "Ondřej" "Zdeněk" "Šárka" "Bořivoj" "Růžena" "Květa" "Matěj" "Žofie" "Václav" "Ľudmila"],
    last: latin!["Novák" "Svoboda" "Novotný" "Dvořák" "Černý" "Procházka" "Kučera" "Veselý" "Horák" "Němec" "Pospíšil" "Hájek" "Růžička" "Šťastný" "Kříž" "Řehoř" "Žižka" "Ďuriš"],
    family_first: false,
};

pub(super) static NORDIC: Names = Names {
    first: latin!["Anna" "Lars" "Erik" "Ingrid" "Johan" "Astrid" "Søren" "Åsa" "Bjørn" "Märta" "Øyvind" "Sigrún" "Jón" "Göran" "Ærø" "Þórunn" "Kåre" "Håkon" "Mårten" "Solveig"],
    last: latin!["Andersson" "Johansson" "Hansen" "Olsen" "Nilsson" "Larsson" "Lindström" "Sjöberg" "Åkesson" "Ødegård" "Bjørnstad" "Håland" "Møller" "Sørensen" "Kjær" "Guðmundsdóttir" "Þorsteinsson" "Lindqvist" "Öberg" "Ångström"],
    family_first: false,
};

pub(super) static DUTCH: Names = Names {
    first: latin!["Emma" "Daan" "Sanne" "Bram" "Fleur" "Joost" "Maartje" "Sjoerd" "Loïs" "Chloë" "Thijs" "Geert-Jan" "Wouter" "Anouk" "IJsbrand" "Hiëronymus"],
    last: latin!["De Jong" "Jansen" "De Vries" "Van den Berg" "Van Dijk" "Bakker" "Visser" "Smit" "Meijer" "De Boer" "Mulder" "'t Hart" "Van 't Hoff" "IJzerman" "Brünn" "Coëlho"],
    family_first: false,
};

pub(super) static TURKISH: Names = Names {
    first: latin!["Mehmet" "Ayşe" "Mustafa" "Fatma" "Ahmet" "Emine" "İbrahim" "Zeynep" "Çağlar" "Gülşen" "Ömer" "Şebnem" "Işıl" "Oğuz" "Tuğçe" "Ümit" "İlknur" "Çiğdem"],
    last: latin!["Yılmaz" "Kaya" "Demir" "Şahin" "Çelik" "Yıldız" "Yıldırım" "Öztürk" "Aydın" "Özdemir" "Arslan" "Doğan" "Kılıç" "Çetin" "Güneş" "Işık" "İnce" "Ağaoğlu"],
    family_first: false,
};

pub(super) static ROMANIAN: Names = Names {
    first: latin!["Andrei" "Maria" "Ștefan" "Ioana" "Alexandru" "Cătălina" "Mihai" "Ruxandra" "Răzvan" "Ilinca" "Țuțu" "Ionuț" "Mădălina" "Sânziana"],
    last: latin!["Popescu" "Ionescu" "Popa" "Dumitrescu" "Stoica" "Munteanu" "Țurcanu" "Șerban" "Călinescu" "Brâncuși" "Pătrașcu" "Hațieganu" "Văcărescu" "Enăchescu"],
    family_first: false,
};

pub(super) static VIETNAMESE: Names = Names {
    first: latin!["Anh" "Minh" "Hương" "Tuấn" "Thảo" "Đức" "Ngọc" "Quỳnh" "Phương" "Dũng" "Hằng" "Thịnh" "Mỹ" "Bảo" "Kiệt" "Tường Vy"],
    last: latin!["Nguyễn" "Trần" "Lê" "Phạm" "Hoàng" "Huỳnh" "Phan" "Vũ" "Võ" "Đặng" "Bùi" "Đỗ" "Hồ" "Ngô" "Dương" "Lý"],
    family_first: false,
};

pub(super) static GREEK: Names = Names {
    first: spelled!["Γιώργος" "giorgos" "Μαρία" "maria" "Γιάννης" "giannis" "Ελένη" "eleni" "Δημήτρης" "dimitris" "Κατερίνα" "katerina" "Νίκος" "nikos" "Σοφία" "sofia" "Κώστας" "kostas" "Βασιλική" "vasiliki" "Χρήστος" "christos" "Ιωάννα" "ioanna" "Ευάγγελος" "evangelos" "Αγγελική" "angeliki" "Οδυσσέας" "odysseas" "Θεοδώρα" "theodora"],
    last: spelled!["Παπαδόπουλος" "papadopoulos" "Παππάς" "pappas" "Καραγιάννης" "karagiannis" "Βλάχος" "vlachos" "Ιωαννίδης" "ioannidis" "Οικονόμου" "oikonomou" "Παπαγεωργίου" "papageorgiou" "Μακρής" "makris" "Κωνσταντινίδης" "konstantinidis" "Δημητρίου" "dimitriou" "Γεωργίου" "georgiou" "Αντωνίου" "antoniou" "Χατζής" "chatzis" "Ψαρράς" "psarras" "Ξενάκης" "xenakis" "Θεοδωρίδης" "theodoridis"],
    family_first: false,
};

pub(super) static RUSSIAN: Names = Names {
    first: spelled!["Александр" "alexander" "Анна" "anna" "Дмитрий" "dmitry" "Мария" "maria" "Сергей" "sergey" "Елена" "elena" "Андрей" "andrey" "Ольга" "olga" "Алексей" "alexey" "Наталья" "natalia" "Пётр" "petr" "Екатерина" "ekaterina" "Фёдор" "fedor" "Татьяна" "tatiana" "Юрий" "yuri" "Ксения" "ksenia" "Илья" "ilya" "Алёна" "alena"],
    last: spelled!["Иванов" "ivanov" "Смирнов" "smirnov" "Кузнецов" "kuznetsov" "Попов" "popov" "Васильев" "vasilyev" "Петров" "petrov" "Соколов" "sokolov" "Михайлов" "mikhailov" "Новиков" "novikov" "Фёдоров" "fedorov" "Морозов" "morozov" "Волков" "volkov" "Лебедев" "lebedev" "Соловьёв" "solovyov" "Щербаков" "shcherbakov" "Королёв" "korolev" "Цветаев" "tsvetaev" "Юдин" "yudin"],
    family_first: false,
};

pub(super) static UKRAINIAN: Names = Names {
    first: spelled!["Олександр" "oleksandr" "Оксана" "oksana" "Андрій" "andriy" "Наталія" "nataliia" "Сергій" "serhiy" "Ірина" "iryna" "Тарас" "taras" "Олена" "olena" "Богдан" "bohdan" "Софія" "sofiia" "Юрій" "yuriy" "Людмила" "liudmyla" "Євген" "yevhen" "Ганна" "hanna"],
    last: spelled!["Мельник" "melnyk" "Шевченко" "shevchenko" "Коваленко" "kovalenko" "Бондаренко" "bondarenko" "Бойко" "boyko" "Ткаченко" "tkachenko" "Кравченко" "kravchenko" "Ковальчук" "kovalchuk" "Олійник" "oliinyk" "Шевчук" "shevchuk" "Поліщук" "polishchuk" "Лисенко" "lysenko" "Їжак" "yizhak" "Ґалаґан" "galagan"],
    family_first: false,
};

pub(super) static ARABIC: Names = Names {
    first: spelled!["محمد" "mohamed" "فاطمة" "fatima" "أحمد" "ahmed" "عائشة" "aisha" "علي" "ali" "مريم" "mariam" "عمر" "omar" "نور" "nour" "يوسف" "youssef" "ليلى" "layla" "خالد" "khaled" "سارة" "sara" "إبراهيم" "ibrahim" "هدى" "huda" "حسن" "hassan" "زينب" "zainab" "طارق" "tarek" "رانيا" "rania"],
    last: spelled!["محمد" "mohamed" "أحمد" "ahmed" "علي" "ali" "حسن" "hassan" "إبراهيم" "ibrahim" "محمود" "mahmoud" "المصري" "almasri" "عبد الله" "abdullah" "السيد" "elsayed" "الشريف" "alsharif" "الحربي" "alharbi" "القحطاني" "alqahtani" "النجار" "alnajjar" "خوري" "khoury" "حداد" "haddad" "الغامدي" "alghamdi" "بن علي" "benali" "فؤاد" "fouad"],
    family_first: false,
};

pub(super) static HINDI: Names = Names {
    first: spelled!["आरव" "aarav" "प्रिया" "priya" "राहुल" "rahul" "अनन्या" "ananya" "विवेक" "vivek" "दीपिका" "deepika" "संजय" "sanjay" "सुनीता" "sunita" "अर्जुन" "arjun" "कविता" "kavita" "रोहित" "rohit" "पूजा" "pooja" "कृष्ण" "krishna" "लक्ष्मी" "lakshmi" "ज्ञान" "gyan" "श्रेया" "shreya"],
    last: spelled!["कुमार" "kumar" "सिंह" "singh" "शर्मा" "sharma" "गुप्ता" "gupta" "वर्मा" "verma" "यादव" "yadav" "पटेल" "patel" "मिश्रा" "mishra" "जोशी" "joshi" "चौहान" "chauhan" "पाण्डेय" "pandey" "अग्रवाल" "agrawal" "श्रीवास्तव" "srivastava" "त्रिपाठी" "tripathi" "चतुर्वेदी" "chaturvedi" "ठाकुर" "thakur"],
    family_first: false,
};

pub(super) static INDIAN_LATIN: Names = Names {
    first: latin!["Aarav" "Priya" "Rahul" "Ananya" "Vivek" "Deepika" "Sanjay" "Sunita" "Arjun" "Kavita" "Rohit" "Pooja" "Krishnamurthy" "Lakshmi" "Aishwarya" "Venkatesh" "Harpreet" "Fathima" "Thomas" "Meenakshi"],
    last: latin!["Kumar" "Singh" "Sharma" "Patel" "Gupta" "Reddy" "Nair" "Iyer" "Das" "Khan" "Mukherjee" "Chatterjee" "Rao" "Menon" "Subramaniam" "Venkataraman" "D'Souza" "Kaur" "Joshi" "Bose"],
    family_first: false,
};

pub(super) static CHINESE: Names = Names {
    first: spelled!["伟" "wei" "芳" "fang" "娜" "na" "敏" "min" "静" "jing" "秀英" "xiuying" "丽" "li" "强" "qiang" "磊" "lei" "洋" "yang" "艳" "yan" "勇" "yong" "军" "jun" "杰" "jie" "梓涵" "zihan" "浩然" "haoran" "子轩" "zixuan" "雨桐" "yutong" "志明" "zhiming" "建国" "jianguo"],
    last: spelled!["王" "wang" "李" "li" "张" "zhang" "刘" "liu" "陈" "chen" "杨" "yang" "黄" "huang" "赵" "zhao" "吴" "wu" "周" "zhou" "徐" "xu" "孙" "sun" "马" "ma" "朱" "zhu" "胡" "hu" "林" "lin" "郭" "guo" "何" "he" "欧阳" "ouyang" "司马" "sima"],
    family_first: true,
};

pub(super) static TAIWANESE: Names = Names {
    first: spelled!["怡君" "yichun" "志明" "chihming" "雅婷" "yating" "俊傑" "chunchieh" "淑芬" "shufen" "家豪" "chiahao" "美玲" "meiling" "冠宇" "kuanyu" "佩珊" "peishan" "承恩" "chengen" "宜蓁" "yichen" "建宏" "chienhung"],
    last: spelled!["陳" "chen" "林" "lin" "黃" "huang" "張" "chang" "李" "lee" "王" "wang" "吳" "wu" "劉" "liu" "蔡" "tsai" "楊" "yang" "許" "hsu" "鄭" "cheng" "謝" "hsieh" "歐陽" "ouyang"],
    family_first: true,
};

pub(super) static JAPANESE: Names = Names {
    first: spelled!["陽菜" "hina" "蓮" "ren" "さくら" "sakura" "大翔" "hiroto" "美咲" "misaki" "翔太" "shota" "ひかり" "hikari" "健太" "kenta" "結衣" "yui" "ハルカ" "haruka" "直樹" "naoki" "あかり" "akari" "ケンジ" "kenji" "真由美" "mayumi" "拓也" "takuya" "リナ" "rina" "恵子" "keiko" "つばさ" "tsubasa"],
    last: spelled!["佐藤" "sato" "鈴木" "suzuki" "高橋" "takahashi" "田中" "tanaka" "伊藤" "ito" "渡辺" "watanabe" "山本" "yamamoto" "中村" "nakamura" "小林" "kobayashi" "加藤" "kato" "吉田" "yoshida" "山田" "yamada" "佐々木" "sasaki" "山口" "yamaguchi" "松本" "matsumoto" "井上" "inoue" "木村" "kimura" "髙﨑" "takasaki"],
    family_first: true,
};

pub(super) static KOREAN: Names = Names {
    first: spelled!["민준" "minjun" "서연" "seoyeon" "지훈" "jihun" "지우" "jiwoo" "현우" "hyunwoo" "수빈" "subin" "도윤" "doyun" "하은" "haeun" "준호" "junho" "은지" "eunji" "성민" "sungmin" "유진" "yujin" "태양" "taeyang" "보람" "boram" "슬기" "seulgi" "한결" "hangyeol"],
    last: spelled!["김" "kim" "이" "lee" "박" "park" "최" "choi" "정" "jung" "강" "kang" "조" "cho" "윤" "yoon" "장" "jang" "임" "lim" "한" "han" "오" "oh" "서" "seo" "신" "shin" "황보" "hwangbo" "남궁" "namgung"],
    family_first: true,
};
